package arp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

var (
	mac  = MAC{2, 0, 10, 88, 1, 1}
	addr = netip.MustParseAddr("10.88.1.100")
)

// The golden frames are what tcpdump -xx shows of arping's.
func TestGolden(t *testing.T) {
	cases := map[string]Frame{
		"ffffffffffff02000a5801010806000108000604000102000a58010100000000000000000000" + "0a580164": Question(mac, netip.Addr{}, addr),
		"ffffffffffff02000a5801010806000108000604000102000a5801010a580164000000000000" + "0a580164": Announcement(mac, addr),
		"ffffffffffff02000a5801010806000108000604000102000a5801010a580101000000000000" + "0a580164": Question(mac, netip.MustParseAddr("10.88.1.1"), addr),
	}
	for want, f := range cases {
		b := Append(nil, f)
		if hex.EncodeToString(b) != want {
			t.Errorf("%+v\n is   %x\n not  %s", f, b, want)
		}
		if got, ok := Parse(append(b, make([]byte, 18)...)); !ok || got != f {
			t.Errorf("round trip: %+v, %v", got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, Announcement(mac, addr)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if frame, ok := Parse(b); ok && !bytes.Equal(Append(nil, frame), b[:Length]) {
			t.Errorf("%x does not survive a round trip: %+v", b, frame)
		}
	})
}
