// Package wire is the bytes of the messages that the two volume processes of one volume exchange. It is pure: bytes in, values out.
//
// # Connections
//
// One side (the configured slave) dials twice; both are TCP with TLS 1.3, both certificates pinned. The two are tied by a token.
//
//	data   Hello first, then the handshake, application writes, resync data, words about state. In order.
//	ack    Hello first, then acknowledgements and pings. A ping goes out every 250 ms from both ends.
//
// # Format, version 1
//
// A message is a header of 40 bytes and a payload. Numbers are big endian.
//
//	 off size field
//	  0   2  magic    0x456B ("Ek")
//	  2   1  version  1
//	  3   1  kind     see the kinds below
//	  4   2  flags    bit 0 FUA, bit 1 no hole, bit 2 failed, bit 3 last, bit 4 same
//	  6   2  zero
//	  8   8  seq      number that an answer repeats
//	 16   8  offset   bytes, of the range that the message is about
//	 24   4  length   bytes, of that range
//	 28   4  size     bytes of the payload, at most 4 MiB
//	 32   4  CRC32C of the payload; 0 without payload
//	 36   4  CRC32C of bytes 0 to 35
//
//	kind             connection  payload
//	 1 Hello         both        JSON [Hello]; the first message in both directions
//	 2 Refuse        both        JSON [Refuse]; the last one
//	 3 Snapshot      data        replication.Snapshot's bytes
//	 4 Verdict       data        JSON [Verdict]
//	 5 Bitmap        data        runs (dirty.Bitmap.EncodeRuns); flag last on the last one
//	 6 Ready         data        none: stored, and willing to mirror from here on
//	 7 Write         data        the data; length = size
//	 8 Zeroes        data        none
//	 9 Flush         data        none
//	10 SyncData      data        the data; length = size
//	11 SyncZeroes    data        none: the source's range is all zeroes
//	12 SyncHash      data        SHA-256 of each piece of 64 KiB of the range
//	13 SyncFinished  data        JSON [Finished]: the source's record says in sync; the target may store UpToDate
//	14 SyncDone      data        none: the target stored UpToDate
//	15 State         data        JSON [State]: role, disk, pause
//	16 Bye           data        JSON [Refuse]: an orderly end, with its reason
//	32 Ack           ack         none; seq of a Write, Zeroes, Flush, SyncData, SyncZeroes; flag failed: an I/O error
//	33 HashAck       ack         none; offset: one bit per piece of the range that differs, lowest bit first; flag same: none differs
//	34 Ping          ack         none
//	35 Pong          ack         none; seq of the ping
//	36 Mark          ack         JSON [Mark]: the sender's rollback mark, stable on its disk
//
// An acknowledgement of a Write means that the peer's disk completed it, of a Flush that everything whose Ack was sent before it
// is stable there. A kind or version that is not known ends the connection.
package wire
