package volume

import (
	"bytes"
	"testing"
)

func TestFullSyncMirrorAndEqualCopies(t *testing.T) {
	p := newPair(t, testSize)
	p.a.start()
	p.a.promote(1)
	data := pattern(1, 64<<10)
	must(t, p.a.write(1<<20, data)) // alone: this volume never had a peer
	p.b.start()
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
	more := pattern(2, 4096)
	must(t, p.a.write(8192, more))
	must(t, p.a.write(8192+100, more[:1000])) // unaligned
	must(t, p.a.flush())
	if !bytes.Equal(p.a.read(1<<20, len(data)), data) {
		t.Fatal("what was written is not read")
	}
	p.a.end()
	p.b.end()
	p.equal()
	if !bytes.Equal(p.b.image()[1<<20:1<<20+len(data)], data) {
		t.Fatal("the peer does not hold the data")
	}
}
