package export

import "encoding/binary"

// The numbers of the NBD protocol, as doc/proto.md of the NBD project lists them: fixed newstyle negotiation, simple replies.
// All integers are big endian.
const (
	nbdMagic       = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOptMagic    = 0x49484156454f5054 // "IHAVEOPT"
	nbdReplyMagic  = 0x0003e889045565a9
	nbdReqMagic    = 0x25609513
	nbdSimpleMagic = 0x67446698

	nbdFlagFixedNewstyle = 1 << 0
	nbdFlagNoZeroes      = 1 << 1

	nbdOptExportName = 1
	nbdOptAbort      = 2
	nbdOptList       = 3
	nbdOptInfo       = 6
	nbdOptGo         = 7

	nbdRepAck        = 1
	nbdRepServer     = 2
	nbdRepInfo       = 3
	nbdRepErrUnsup   = 1<<31 | 1
	nbdRepErrInvalid = 1<<31 | 3
	nbdRepErrUnknown = 1<<31 | 6

	nbdInfoExport    = 0
	nbdInfoName      = 1
	nbdInfoBlockSize = 3

	nbdHasFlags        = 1 << 0
	nbdReadOnly        = 1 << 1
	nbdSendFlush       = 1 << 2
	nbdSendFUA         = 1 << 3
	nbdSendTrim        = 1 << 5
	nbdSendWriteZeroes = 1 << 6
	nbdCanMultiConn    = 1 << 8

	nbdCmdRead        = 0
	nbdCmdWrite       = 1
	nbdCmdDisc        = 2
	nbdCmdFlush       = 3
	nbdCmdTrim        = 4
	nbdCmdWriteZeroes = 6

	nbdCmdFlagFUA    = 1 << 0
	nbdCmdFlagNoHole = 1 << 1

	nbdEPERM  = 1
	nbdEIO    = 5
	nbdEINVAL = 22
	nbdENOSPC = 28

	nbdMaxPayload   = 32 << 20 // bytes of one read or write
	nbdMaxOption    = 4 << 10  // bytes of one option's data
	nbdMaxOptions   = 64       // options before transmission
	nbdRequestBytes = 28
	nbdReplyBytes   = 16
)

// nbdRequest is the header of a request.
type nbdRequest struct {
	flags, cmd uint16
	cookie     uint64
	offset     uint64
	length     uint32
}

// parseNBDRequest reads a request header; ok is false if the magic is wrong, which ends the connection.
func parseNBDRequest(p *[nbdRequestBytes]byte) (r nbdRequest, ok bool) {
	r = nbdRequest{
		flags:  binary.BigEndian.Uint16(p[4:]),
		cmd:    binary.BigEndian.Uint16(p[6:]),
		cookie: binary.BigEndian.Uint64(p[8:]),
		offset: binary.BigEndian.Uint64(p[16:]),
		length: binary.BigEndian.Uint32(p[24:]),
	}
	return r, binary.BigEndian.Uint32(p[:]) == nbdReqMagic
}

// check says which error a request deserves before it is served; 0 = none.
func (r nbdRequest) check(size uint64, readOnly bool) uint32 {
	known := uint16(nbdCmdFlagFUA)
	switch r.cmd {
	case nbdCmdRead, nbdCmdFlush:
	case nbdCmdWrite, nbdCmdTrim:
		if readOnly {
			return nbdEPERM
		}
	case nbdCmdWriteZeroes:
		known |= nbdCmdFlagNoHole
		if readOnly {
			return nbdEPERM
		}
	default:
		return nbdEINVAL
	}
	if r.flags&^known != 0 {
		return nbdEINVAL
	}
	if r.cmd == nbdCmdFlush {
		return 0
	}
	if r.offset > size || uint64(r.length) > size-r.offset {
		if r.cmd == nbdCmdWrite || r.cmd == nbdCmdWriteZeroes {
			return nbdENOSPC
		}
		return nbdEINVAL
	}
	if (r.cmd == nbdCmdRead || r.cmd == nbdCmdWrite) && r.length > nbdMaxPayload {
		return nbdEINVAL
	}
	return 0
}
