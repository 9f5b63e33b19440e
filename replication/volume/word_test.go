package volume

import (
	"os"
	"strings"
	"testing"

	"evenkeel/replication/control"
)

// A disk that failed and is opened again by the next process stands by what was said under a request's epoch. Without that a last primary, permitted in this
// boot, would call itself UpToDate, while the peer goes on alone on the word that this disk failed.
func TestADiskThatIsTakenBackStandsByWhatWasSaidWithoutIt(t *testing.T) {
	p := failedLastPrimary(t)
	if a := p.a.outdate(p.askForEpoch2()); a.Result != "failed" {
		t.Fatalf("answer of a volume whose disk failed: %+v", a)
	}
	for _, again := range []string{"by the next process", "and by the one after"} {
		p.a.end()
		p.a.start()
		if st := p.a.status(); st.Disk != "Outdated" || st.Licence {
			t.Fatalf("taken back %s: %s, licence %v", again, st.Disk, st.Licence)
		}
	}
	if _, err := os.Stat(p.a.loop.wordPath()); !os.IsNotExist(err) {
		t.Errorf("the word is kept beyond its use: %v", err)
	}
	p.b.start() // it did not go on: the generations still name the newest copy
	p.a.until("in sync", inSync)
	p.b.until("in sync", inSync)
	p.bothHold(0, pattern(1, 4096))
}

// A word that cannot be kept is not given; one that cannot be read costs the licence.
func TestAWordWithoutADiskIsKeptBeforeItIsGiven(t *testing.T) {
	p := failedLastPrimary(t)
	must(t, os.Mkdir(p.a.loop.wordPath(), 0o700)) // in the way
	if a, err := p.a.client.Outdate(t.Context(), p.askForEpoch2()); err == nil || !strings.Contains(err.Error(), "cannot be kept") {
		t.Errorf("%+v, %v", a, err)
	}
	p.a.end()
	p.a.start()
	if st := p.a.status(); st.Disk != "Consistent" || st.Licence {
		t.Errorf("what was said cannot be read: %s, licence %v", st.Disk, st.Licence)
	}
}

// A last primary whose disk failed, and to whom nobody spoke since, comes back as after a crash.
func TestADiskThatIsTakenBackWithoutAWordIsAsAfterACrash(t *testing.T) {
	p := failedLastPrimary(t)
	p.a.end()
	p.a.start()
	if st := p.a.status(); st.Disk != "UpToDate" || !st.LastPrimary {
		t.Errorf("%s, last primary %v", st.Disk, st.LastPrimary)
	}
}

// A person who begins anew on a disk begins without the word of the one before.
func TestAWordEndsWithAVolumeThatIsCreatedAnew(t *testing.T) {
	p := failedLastPrimary(t)
	if a := p.a.outdate(p.askForEpoch2()); a.Result != "failed" {
		t.Fatalf("answer: %+v", a)
	}
	p.a.end()
	_, err := Create(CreateOptions{Name: "data", Node: "a", Backing: p.a.config.Backing, First: true, Force: true, StateDir: p.a.config.StateDir})
	must(t, err)
	p.a.start()
	if st := p.a.status(); st.Disk != "UpToDate" {
		t.Errorf("the only copy is %s", st.Disk)
	}
	if _, err := os.Stat(p.a.loop.wordPath()); !os.IsNotExist(err) {
		t.Errorf("the word stands: %v", err)
	}
}

func (p *pair) askForEpoch2() control.Outdate {
	return control.Outdate{Number: 7, Boot: "boot", Epoch: control.Epoch{Counter: 2, Node: "b"}}
}

// failedLastPrimary is a pair whose a went on alone by a permission of this boot, and then lost its disk; nothing of that is stored on the disk.
func failedLastPrimary(t *testing.T) *pair {
	t.Helper()
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.end()
	p.a.until("alone", disconnected)
	p.a.permit("peer_failed", 1)
	must(t, p.a.write(0, pattern(1, 4096)))
	p.a.detach(true)
	return p
}
