// Package beat turns a beat into bytes and back. It is a pure core: no clock, no socket, no lock.
//
// # The format, version 1
//
// Numbers are big endian. A string is one length byte and that many bytes of printable ASCII. There is one spelling only: whatever Parse
// accepts, Append writes back byte for byte; unknown codes, bits that are not named, and bytes left over are refused.
//
// Both forms begin alike:
//
//	off len
//	  0   1  'E'
//	  1   1  version (1) in the high nibble, form in the low one: 0 full, 1 compact
//	  2   1  key id: first byte of SHA-256(key)
//	  3   1  cluster id, 0 to 63 (N17)
//	  4   1  node id, a to z
//
// The full form goes over Ethernet, and over a serial line when its slow part changed, a request or answer is pending, the other side
// asked for it, or it was the last time ten beats ago. At most 1400 bytes.
//
//	 5  16  boot name
//	21   8  sequence number
//	29   8  the sender's clock, ns
//	37   2  link tag: which link it was sent on (see TagOf)
//	39   2  beats sent on that link since heart's start, modulo 65536; the receiver counts losses by it
//	41   1  flags: 1 engine gone, 2 send me a full form
//	42   4  engine's age in ms, rounded up
//	46   1  links n, 0 to 8; then n x 8: newest sequence number heard on each
//	        volumes v, 0 to 4; then v x 4: promise in ms, rounded down, in the slow part's order
//	    2   length of the slow part, then the slow part
//	   16   first 16 bytes of HMAC-SHA256(key, everything before)
//
// The slow part is what the decision says (ha.Saying). Its digest, the first 4 bytes of SHA-256(boot name, slow part), names it in
// compact forms; the boot name is in it so that no compact form of one boot is read with the words of another.
//
//	 9  epoch: counter 8, node 1 (0 = none)
//	 1  role code            1  mode code
//	 1  flags: 1 armed, 2 attention, 4 healthy, 8 leaving, 16 release follows, 32 handed-back epoch follows,
//	    64 reaches the secure LAN (a reference point answered lately)
//	 4  dead time, ms        8  settings revision       4  settings digest
//	    phase (string, at most 24)      version (string, at most 16)
//	 1  volumes v, each: name (string, at most 16), generation 16 (zero = none), role code 1, disk code 1,
//	    flags 1: 1 connected, 2 last primary, 4 left in sync
//	18  release, if flagged: epoch 9, request 8, flags 1: 1 no lone acknowledgement
//	 9  handed-back epoch, if flagged
//	 1  requests, 0 to 4, each: number 8, kind code 1, volume (string), generation 16, session 8, epoch 9
//	 1  answers, 0 to 4, each: number 8, boot name 16, kind code 1, volume (string), result code 1, reason (string, at most 40),
//	    generation 16, session 8, epoch 9, payload length 2 and payload (at most 640)
//
// Answers whose payloads do not fit into one beat together are said in turn, a [Page] per beat.
//
// The compact form carries what moves. It goes over a serial line only and takes 64 bytes there, framing and both delimiters included.
//
//	 5   4  first 4 bytes of the boot name
//	 9   8  sequence number
//	17   8  newest sequence number heard on any link
//	25   1  index of that link
//	26   2  how far the newest heard on this link is behind that one; 65535 = none, or farther
//	28   2  beats sent on this link, modulo 65536
//	30   1  flags as above
//	31   2  engine's age in ms, at most 65535
//	33   4  digest of the slow part
//	37   8  four promises of 2 bytes, in 10 ms, rounded down
//	45  12  first 12 bytes of HMAC-SHA256(key, everything before)
//
// Role, epoch and all other slow words are in the digest: a receiver that does not hold the full form of that digest learns from a compact one
// that the sender lives and hears, and nothing else. Truncating HMAC-SHA256 is RFC 2104 section 5; 96 bits are out of reach for
// guesses that arrive at the speed of a serial line.
//
// # On a serial line
//
//	0x00 | COBS(form, CRC-32C of the form, 4 bytes) | 0x00
//
// The delimiter occurs nowhere else, so that a receiver that starts in the middle, or hears noise, is back at the next beat. CRC tells
// garbage (a wrong rate, noise) from a beat under another key; only the HMAC makes it a beat.
package beat
