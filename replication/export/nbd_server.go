package export

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// NBDOptions describes one NBD server.
type NBDOptions struct {
	Socket string // path of the unix socket; what stands there is replaced
	Name   string // export name; the empty name selects it too
	Device Device
	// ReadOnly is asked at each negotiation and before each write: a mounted volume refuses writing clients.
	ReadOnly func() bool
	Log      *slog.Logger
}

const (
	nbdNegotiation = 10 * time.Second // for the whole negotiation
	nbdInFlight    = 64 << 20         // bytes in flight of all clients of one server
	nbdClientsMax  = 32
)

// ServeNBD serves a volume to clients that we did not write (nbdcopy, qemu, fio, the kernel's client) until ctx ends; then every
// connection is closed. It returns nil when ctx ended.
func ServeNBD(ctx context.Context, o NBDOptions) error {
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot replace the NBD socket %s: %w", o.Socket, err)
	}
	l, err := net.Listen("unix", o.Socket)
	if err != nil {
		return fmt.Errorf("cannot serve NBD: %w", err)
	}
	if err := os.Chmod(o.Socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("cannot protect the NBD socket: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	s := &nbdServer{NBDOptions: o, budget: newBudget(nbdInFlight), slots: make(chan struct{}, nbdClientsMax)}
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot accept NBD clients: %w", err)
		}
		select {
		case s.slots <- struct{}{}:
			clients.Go(func() { s.serve(ctx, c); <-s.slots })
		default:
			o.Log.Warn("nbd client refused: too many", "max", nbdClientsMax)
			c.Close()
		}
	}
}

type nbdServer struct {
	NBDOptions
	budget *budget
	slots  chan struct{}
}

// serve lives as long as one client.
func (s *nbdServer) serve(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(nbdNegotiation))
	r := bufio.NewReaderSize(c, 256<<10)
	err := s.negotiate(c, r)
	if err == nil {
		_ = c.SetDeadline(time.Time{})
		err = newNBDSession(s, c, r).run()
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errNBDAbort) && ctx.Err() == nil {
		s.Log.Info("nbd client gone", "volume", s.Name, "why", err)
	}
}

var errNBDAbort = errors.New("the client gave up")

// negotiate is the handshake phase, up to and with the option that starts transmission.
func (s *nbdServer) negotiate(c net.Conn, r *bufio.Reader) error {
	var hello [18]byte
	binary.BigEndian.PutUint64(hello[0:], nbdMagic)
	binary.BigEndian.PutUint64(hello[8:], nbdOptMagic)
	binary.BigEndian.PutUint16(hello[16:], nbdFlagFixedNewstyle|nbdFlagNoZeroes)
	if _, err := c.Write(hello[:]); err != nil {
		return err
	}
	var flags [4]byte
	if _, err := io.ReadFull(r, flags[:]); err != nil {
		return err
	}
	clientFlags := binary.BigEndian.Uint32(flags[:])
	if clientFlags&^uint32(nbdFlagFixedNewstyle|nbdFlagNoZeroes) != 0 {
		return fmt.Errorf("unknown client flags %#x", clientFlags)
	}
	for range nbdMaxOptions {
		opt, data, err := readOption(r)
		if err != nil {
			return err
		}
		done, err := s.option(c, opt, data, clientFlags&nbdFlagNoZeroes != 0)
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d options", nbdMaxOptions)
}

// readOption reads one option with its data.
func readOption(r io.Reader) (opt uint32, data []byte, err error) {
	var h [16]byte
	if _, err = io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint64(h[:]) != nbdOptMagic {
		return 0, nil, errors.New("not an NBD option")
	}
	n := binary.BigEndian.Uint32(h[12:])
	if n > nbdMaxOption {
		return 0, nil, fmt.Errorf("option of %d bytes, at most %d", n, nbdMaxOption)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return binary.BigEndian.Uint32(h[8:]), data, err
}

// option answers one option; done: transmission begins.
func (s *nbdServer) option(c net.Conn, opt uint32, data []byte, noZeroes bool) (done bool, err error) {
	switch opt {
	case nbdOptExportName:
		if !s.named(string(data)) {
			return false, fmt.Errorf("unknown export %q", data)
		}
		return true, s.oldExport(c, noZeroes)
	case nbdOptAbort:
		_ = reply(c, opt, nbdRepAck, nil)
		return false, errNBDAbort
	case nbdOptList:
		if len(data) != 0 {
			return false, reply(c, opt, nbdRepErrInvalid, nil)
		}
		entry := binary.BigEndian.AppendUint32(nil, uint32(len(s.Name)))
		if err := reply(c, opt, nbdRepServer, append(entry, s.Name...)); err != nil {
			return false, err
		}
		return false, reply(c, opt, nbdRepAck, nil)
	case nbdOptInfo, nbdOptGo:
		return s.info(c, opt, data)
	}
	return false, reply(c, opt, nbdRepErrUnsup, nil)
}

func (s *nbdServer) named(name string) bool { return name == "" || name == s.Name }

// info answers NBD_OPT_INFO and NBD_OPT_GO.
func (s *nbdServer) info(c net.Conn, opt uint32, data []byte) (done bool, err error) {
	if len(data) < 6 || uint32(len(data)-6) < binary.BigEndian.Uint32(data) {
		return false, reply(c, opt, nbdRepErrInvalid, nil)
	}
	n := binary.BigEndian.Uint32(data)
	name := string(data[4 : 4+n])
	if !s.named(name) {
		return false, reply(c, opt, nbdRepErrUnknown, []byte("no such export"))
	}
	export := binary.BigEndian.AppendUint16(nil, nbdInfoExport)
	export = binary.BigEndian.AppendUint64(export, s.Device.Size())
	export = binary.BigEndian.AppendUint16(export, s.flags())
	blocks := binary.BigEndian.AppendUint16(nil, nbdInfoBlockSize)
	blocks = binary.BigEndian.AppendUint32(blocks, 1)
	blocks = binary.BigEndian.AppendUint32(blocks, 4096)
	blocks = binary.BigEndian.AppendUint32(blocks, nbdMaxPayload)
	exportName := append(binary.BigEndian.AppendUint16(nil, nbdInfoName), s.Name...)
	for _, p := range [][]byte{export, blocks, exportName} {
		if err := reply(c, opt, nbdRepInfo, p); err != nil {
			return false, err
		}
	}
	return opt == nbdOptGo, reply(c, opt, nbdRepAck, nil)
}

// oldExport answers NBD_OPT_EXPORT_NAME, which has no reply header.
func (s *nbdServer) oldExport(c net.Conn, noZeroes bool) error {
	p := binary.BigEndian.AppendUint64(nil, s.Device.Size())
	p = binary.BigEndian.AppendUint16(p, s.flags())
	if !noZeroes {
		p = append(p, make([]byte, 124)...)
	}
	_, err := c.Write(p)
	return err
}

func (s *nbdServer) flags() uint16 {
	f := uint16(nbdHasFlags | nbdSendFlush | nbdSendFUA | nbdSendTrim | nbdSendWriteZeroes | nbdCanMultiConn)
	if s.ReadOnly() {
		f |= nbdReadOnly
	}
	return f
}

// reply sends one option reply.
func reply(c net.Conn, opt, kind uint32, data []byte) error {
	p := binary.BigEndian.AppendUint64(nil, nbdReplyMagic)
	p = binary.BigEndian.AppendUint32(p, opt)
	p = binary.BigEndian.AppendUint32(p, kind)
	p = binary.BigEndian.AppendUint32(p, uint32(len(data)))
	_, err := c.Write(append(p, data...))
	return err
}
