package volume

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"evenkeel/replication/wire"
)

const (
	sendBuffer    = 256 << 10
	receiveBuffer = 256 << 10
	// receiveBound is how many bytes of data of the peer wait for the disk; its own bounds keep it well below.
	receiveBound = 128 << 20
	// writeDeadline is for deadlineBytes on one connection, whatever is queued behind them: a slow line is not a dead one.
	writeDeadline = 10 * time.Second
	deadlineBytes = 1 << 20
)

// link is a pair of connections to the peer, tied by a token: data in order, acknowledgements beside it.
//
//	loop --post--> outbox(data) ==> peer        loop --post--> outbox(ack) ==> peer
//	loop <--event-- reader(data) <== peer       loop <--event-- reader(ack) <== peer
type link struct {
	dataConn, ackConn net.Conn
	data, ack         *outbox
	peer              wire.Hello
	result            chan outcome // one value when the loop is done with it
	in                *budget
}

// outcome tells the dialer how a link ended.
type outcome struct {
	refused bool // back off
	again   bool // come back at once
}

func newLink(data, ack net.Conn, peer wire.Hello) *link {
	return &link{
		dataConn: data, ackConn: ack, peer: peer, data: newOutbox(data), ack: newOutbox(ack),
		result: make(chan outcome, 1), in: newBudget(receiveBound),
	}
}

// run lives as long as both connections; when it returns nothing of the link touches a buffer any more.
func (l *link) run(box *mailbox) {
	var all sync.WaitGroup
	var once sync.Once
	fail := func(err error) {
		if errors.Is(err, errFinished) {
			return // the peer closes when it has read the last word; else finish does
		}
		once.Do(func() {
			box.post(call(func(lp *loop) { lp.linkFailed(l, err) }))
		})
		l.close()
	}
	all.Go(func() { fail(l.data.drain()) })
	all.Go(func() { fail(l.ack.drain()) })
	all.Go(func() { fail(l.readData(box)) })
	all.Go(func() { fail(l.readAcks(box)) })
	all.Wait()
	box.post(call(func(lp *loop) { lp.linkGone(l) }))
}

// close ends all four goroutines; it may be called many times.
func (l *link) close() {
	hangUp(l.dataConn)
	hangUp(l.ackConn)
	l.data.shut()
	l.ack.shut()
	l.in.shut()
}

// hangUp ends a connection without TLS's farewell, which would wait for a peer that does not read.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.Close()
}

// message is one message of the data connection. buf is a pooled buffer; who handles it gives it back.
type message struct {
	link *link
	wire.Header
	buf []byte
}

func (m *message) happen(l *loop) { l.received(m) }

func (l *link) readData(box *mailbox) error {
	r := bufio.NewReaderSize(l.dataConn, receiveBuffer)
	for {
		h, err := readHeader(r)
		if err != nil {
			return err
		}
		m := &message{link: l, Header: h}
		if h.Size > 0 {
			if !l.in.take(int(h.Size)) {
				return net.ErrClosed
			}
			m.buf = alloc(int(h.Size))
			if _, err := io.ReadFull(r, m.buf); err != nil {
				free(m.buf)
				return err
			}
			if err := h.Check(m.buf); err != nil {
				free(m.buf)
				return err
			}
		}
		box.post(m)
	}
}

// done gives a message's buffer back.
func (m *message) done() {
	if m.buf != nil {
		m.link.in.give(len(m.buf))
		free(m.buf)
		m.buf = nil
	}
}

// acks are the messages of the ack connection that arrived together.
type acks struct {
	link  *link
	heads []wire.Header
	marks []wire.Mark
}

func (a *acks) happen(l *loop) { l.acknowledged(a) }

func (l *link) readAcks(box *mailbox) error {
	r := bufio.NewReaderSize(l.ackConn, 64<<10)
	for {
		a := &acks{link: l}
		for len(a.heads) == 0 || r.Buffered() >= wire.HeaderSize {
			h, err := readHeader(r)
			if err != nil {
				return err
			}
			if h.Kind == wire.KindMark {
				m, err := readWords[wire.Mark](r, h)
				if err != nil {
					return err
				}
				a.marks = append(a.marks, m)
			} else if h.Size != 0 {
				return fmt.Errorf("%w: an acknowledgement with a payload", wire.ErrDamaged)
			}
			a.heads = append(a.heads, h)
		}
		box.post(a)
	}
}

func readHeader(r io.Reader) (wire.Header, error) {
	var b [wire.HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		return wire.Header{}, err
	}
	return wire.ParseHeader(b[:])
}

// readWords reads a JSON payload.
func readWords[T any](r io.Reader, h wire.Header) (T, error) {
	var none T
	if h.Size > 64<<10 {
		return none, fmt.Errorf("%w: %d bytes of words", wire.ErrDamaged, h.Size)
	}
	b := make([]byte, h.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return none, err
	}
	if err := h.Check(b); err != nil {
		return none, err
	}
	return wire.Decode[T](b)
}

// outMessage is a message on its way. The payload is not copied: whoever owns it waits for the acknowledgement or for the link's end.
type outMessage struct {
	wire.Header
	payload []byte
}

// outbox is the queue before one connection. Its bound is the sum of what may be in flight; see mailbox.
type outbox struct {
	conn  net.Conn
	mu    sync.Mutex
	queue []outMessage
	open  bool
	last  bool // end when the queue is empty
	wake  chan struct{}
	bytes uint64 // sent, guarded by mu
}

func newOutbox(c net.Conn) *outbox { return &outbox{conn: c, open: true, wake: make(chan struct{}, 1)} }

func (o *outbox) post(m outMessage) {
	o.mu.Lock()
	if o.open && !o.last {
		o.queue = append(o.queue, m)
	}
	o.mu.Unlock()
	o.rouse()
}

func (o *outbox) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) shut() {
	o.mu.Lock()
	o.open, o.queue = false, nil
	o.mu.Unlock()
	o.rouse()
}

// take waits for messages; false: shut, or finished.
func (o *outbox) take(emptied []outMessage) ([]outMessage, bool) {
	clear(emptied)
	for {
		o.mu.Lock()
		q, open := o.queue, o.open && !(o.last && len(o.queue) == 0)
		if len(q) > 0 {
			o.queue = emptied[:0]
		}
		o.mu.Unlock()
		if !open || len(q) > 0 {
			return q, open
		}
		<-o.wake
	}
}

// drain sends until the connection ends.
func (o *outbox) drain() error {
	w := bufio.NewWriterSize(o.conn, sendBuffer)
	var batch []outMessage
	var head [wire.HeaderSize]byte
	for {
		var open bool
		if batch, open = o.take(batch); !open {
			return o.ending()
		}
		sent, renewed := uint64(0), uint64(0)
		for i := range batch {
			if i == 0 || sent-renewed >= deadlineBytes {
				renewed = sent
				if err := o.conn.SetWriteDeadline(time.Now().Add(writeDeadline)); err != nil {
					return err
				}
			}
			m := &batch[i]
			m.Size, m.Sum = uint32(len(m.payload)), wire.Sum(m.payload)
			if _, err := w.Write(m.Append(head[:0])); err != nil {
				return err
			}
			if _, err := w.Write(m.payload); err != nil {
				return err
			}
			sent += uint64(wire.HeaderSize + len(m.payload))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		o.mu.Lock()
		o.bytes += sent
		o.mu.Unlock()
	}
}

var errFinished = errors.New("everything is sent")

// ending says why there is nothing more to send.
func (o *outbox) ending() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last && o.open {
		return errFinished
	}
	return net.ErrClosed
}

// finish lets what is queued go out; the connection ends when the peer closes it, at most after d.
func (o *outbox) finish(d time.Duration) {
	o.mu.Lock()
	o.last = true
	o.mu.Unlock()
	o.rouse()
	time.AfterFunc(d, func() { hangUp(o.conn) })
}
