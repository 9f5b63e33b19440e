package export

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// nbdSession is one client in the transmission phase: this goroutine reads requests and submits them, one other writes the
// replies in the order of completion.
//
//	read header > buffer > Device.Submit ... Done > replies > write (several at once)
type nbdSession struct {
	s       *nbdServer
	conn    net.Conn
	r       *bufio.Reader
	replies chan *nbdCall
	slots   chan struct{} // one for each request in flight, so that replies never blocks
	pending sync.WaitGroup
	calls   sync.Pool
}

// nbdCall is one request in flight.
type nbdCall struct {
	Request
	session *nbdSession
	header  nbdRequest
	buffer  *[]byte
	cost    int
	err     uint32
}

// nbdDepth bounds the requests in flight of one client; the bytes are bounded by the server's budget.
const nbdDepth = 256

func newNBDSession(s *nbdServer, c net.Conn, r *bufio.Reader) *nbdSession {
	n := &nbdSession{s: s, conn: c, r: r, replies: make(chan *nbdCall, nbdDepth), slots: make(chan struct{}, nbdDepth)}
	n.calls.New = func() any {
		call := &nbdCall{session: n}
		call.Done = call.done
		return call
	}
	return n
}

// run ends when the client disconnects or the connection fails; requests in flight are waited for.
func (n *nbdSession) run() error {
	written := make(chan error, 1)
	go func() { written <- n.write() }()
	err := n.read()
	n.pending.Wait()
	close(n.replies)
	if werr := <-written; err == nil {
		err = werr
	}
	return err
}

func (n *nbdSession) read() error {
	var h [nbdRequestBytes]byte
	for {
		if _, err := io.ReadFull(n.r, h[:]); err != nil {
			return err
		}
		req, ok := parseNBDRequest(&h)
		if !ok {
			return errors.New("not an NBD request")
		}
		if req.cmd == nbdCmdDisc {
			return nil
		}
		if err := n.start(req); err != nil {
			return err
		}
	}
}

// start takes one request; an error ends the connection.
func (n *nbdSession) start(req nbdRequest) error {
	call := n.calls.Get().(*nbdCall)
	call.header, call.err, call.buffer, call.cost = req, req.check(n.s.Device.Size(), n.s.ReadOnly()), nil, 0
	n.slots <- struct{}{}
	n.pending.Add(1)
	if call.err != 0 {
		return n.refuse(call)
	}
	if req.cmd == nbdCmdRead || req.cmd == nbdCmdWrite {
		call.cost = int(req.length)
		n.s.budget.take(call.cost)
		call.buffer = getBuffer(int(req.length))
	}
	if req.cmd == nbdCmdWrite {
		if _, err := io.ReadFull(n.r, *call.buffer); err != nil {
			n.finish(call)
			n.pending.Done()
			return err
		}
	}
	call.fill()
	n.s.Device.Submit(&call.Request)
	return nil
}

// refuse answers a request that is not served; the payload of a write is read over.
func (n *nbdSession) refuse(call *nbdCall) error {
	if call.header.cmd == nbdCmdWrite {
		if call.header.length > nbdMaxPayload {
			n.pending.Done()
			return errors.New("write longer than announced")
		}
		if _, err := n.r.Discard(int(call.header.length)); err != nil {
			n.pending.Done()
			return err
		}
	}
	n.replies <- call
	return nil
}

var nbdOps = [...]Op{
	nbdCmdRead: Read, nbdCmdWrite: Write, nbdCmdFlush: Flush, nbdCmdTrim: Discard, nbdCmdWriteZeroes: WriteZeroes,
}

// fill makes the device's request from the header.
func (c *nbdCall) fill() {
	c.Op, c.Offset, c.Length = nbdOps[c.header.cmd], c.header.offset, c.header.length
	c.FUA = c.header.flags&nbdCmdFlagFUA != 0
	c.NoHole = c.header.cmd == nbdCmdWriteZeroes && c.header.flags&nbdCmdFlagNoHole != 0
	c.Data = nil
	if c.buffer != nil {
		c.Data = *c.buffer
	}
}

// done is the device's answer. A client that reads no replies stalls itself through the slots and the budget, never the device.
func (c *nbdCall) done(err error) {
	if err != nil {
		c.err = nbdEIO
	}
	c.session.replies <- c
}

// finish gives a call's buffer back.
func (n *nbdSession) finish(call *nbdCall) {
	if call.buffer != nil {
		putBuffer(call.buffer)
		call.buffer, call.Data = nil, nil
	}
	if call.cost > 0 {
		n.s.budget.give(call.cost)
		call.cost = 0
	}
}

// write sends replies until the channel is closed; after an error it only takes them away and closes the connection.
func (n *nbdSession) write() error {
	w := bufio.NewWriterSize(n.conn, 256<<10)
	var failed error
	for call := range n.replies {
		if failed == nil {
			failed = n.send(w, call)
		}
		n.finish(call)
		n.calls.Put(call)
		<-n.slots
		n.pending.Done()
		if failed == nil && len(n.replies) == 0 {
			failed = w.Flush()
		}
		if failed != nil {
			n.conn.Close()
		}
	}
	return failed
}

func (n *nbdSession) send(w *bufio.Writer, call *nbdCall) error {
	var h [nbdReplyBytes]byte
	binary.BigEndian.PutUint32(h[0:], nbdSimpleMagic)
	binary.BigEndian.PutUint32(h[4:], call.err)
	binary.BigEndian.PutUint64(h[8:], call.header.cookie)
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	if call.header.cmd == nbdCmdRead && call.err == 0 {
		if _, err := w.Write(call.Data); err != nil {
			return err
		}
	}
	return nil
}
