package volume

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"evenkeel/replication/control"
)

func (s *side) outdate(o control.Outdate) control.OutdateAnswer {
	s.t.Helper()
	a, err := s.client.Outdate(context.Background(), o)
	must(s.t, err)
	return a
}

// request is what a primary asks of its peer.
func (s *side) request(epoch uint64) control.Outdate {
	st := s.status()
	return control.Outdate{Number: 7, Boot: "boot", Generation: st.Generation, Session: st.Session, Epoch: control.Epoch{Counter: epoch, Node: s.config.Node}}
}

func (p *pair) disconnect() {
	p.t.Helper()
	must(p.t, p.a.client.Disconnect(context.Background()))
	p.a.until("disconnected", disconnected)
	p.b.until("disconnected", disconnected)
}

func TestOutdateAndPromoteTheFirstWins(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.disconnect()
	a := p.b.outdate(p.a.request(1))
	if a.Result != "outdated" || a.Number != 7 {
		t.Fatalf("answer: %+v", a)
	}
	if _, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "dead"}); err == nil {
		t.Fatal("an Outdated volume was promoted")
	}
	stale := a
	stale.Session++
	if err := p.a.client.PeerOutdated(context.Background(), stale); err == nil {
		t.Fatal("an answer of another session was taken")
	}
	must(t, p.a.client.PeerOutdated(context.Background(), a))
	p.a.permit("outdated", 1)
	must(t, p.a.write(0, pattern(4, 4096)))
	if got := p.a.status(); got.PeerRecord != "outdated" || got.PeerDisk != "Outdated" {
		t.Fatalf("record %q, peer %s", got.PeerRecord, got.PeerDisk)
	}
	p.b.end()
	p.b.start()
	if st := p.b.status(); st.Disk != "Outdated" || len(st.Answered) != 1 {
		t.Fatalf("after a restart: %s, answers %v", st.Disk, st.Answered)
	}
	must(t, p.a.client.Connect(context.Background()))
	p.b.until("in sync", inSync)
	if st := p.b.status(); len(st.Answered) != 0 {
		t.Fatal("the answer must end with the next contact")
	}
}

func TestAPrimaryRefusesToBeOutdated(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.disconnect()
	_, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "dead"})
	must(t, err)
	if a := p.b.outdate(p.a.request(1)); a.Result != "refused" {
		t.Fatalf("answer: %+v", a)
	}
}

// split makes a split-brain: both wrote without each other.
func (p *pair) split() {
	p.t.Helper()
	p.both()
	p.a.promote(1)
	must(p.t, p.a.write(0, pattern(9, 64<<10)))
	p.disconnect()
	p.a.permit("person", 1)
	_, err := p.b.client.Promote(context.Background(), control.Promote{Epoch: control.Epoch{Counter: 2, Node: "b"}, Permission: "person"})
	must(p.t, err)
	must(p.t, p.a.write(1<<20, pattern(1, 64<<10)))
	must(p.t, p.b.write(2<<20, pattern(2, 64<<10)))
	must(p.t, p.b.flush())
	must(p.t, p.a.client.Connect(context.Background()))
}

func splitBrain(s control.Status) bool { return s.SplitBrain && s.ProblemCode == "split_brain" }

func TestSplitBrainIsFoundOnBothSidesAndResolved(t *testing.T) {
	for _, how := range []string{"local on the victim", "peer on the survivor"} {
		t.Run(how, func(t *testing.T) {
			p := newPair(t, testSize)
			p.split()
			p.a.until("split-brain", splitBrain)
			p.b.until("split-brain", splitBrain)
			if !bytes.Equal(p.a.read(1<<20, 64<<10), pattern(1, 64<<10)) || !bytes.Equal(p.b.read(2<<20, 64<<10), pattern(2, 64<<10)) {
				t.Fatal("a split-brain verdict changed a disk")
			}
			must(t, p.b.client.Demote(context.Background()))
			if how == "local on the victim" {
				must(t, p.b.client.Resolve(context.Background(), control.Resolve{Discard: "local"}))
			} else {
				must(t, p.a.client.Resolve(context.Background(), control.Resolve{Discard: "peer"}))
			}
			p.b.until("in sync", inSync)
			st := p.a.until("in sync", inSync)
			if st.SplitBrain || p.b.status().SplitBrain {
				t.Fatal("the split-brain is still reported")
			}
			if st.ResyncSent > 4<<20 {
				t.Fatalf("a resolution by bitmap moved %d bytes", st.ResyncSent)
			}
			must(t, p.a.client.Demote(context.Background()))
			p.a.end()
			p.b.end()
			p.equal()
			if !bytes.Equal(p.b.image()[1<<20:1<<20+64<<10], pattern(1, 64<<10)) {
				t.Fatal("the survivor's data are not on the victim")
			}
		})
	}
}

// The word "the peer's history goes" is said to the peer once: one that refuses it, because it is primary, and writes on is not overwritten by it later.
func TestTheWordOfASurvivorIsSaidOnce(t *testing.T) {
	p := newPair(t, testSize)
	p.split()
	p.a.until("split-brain", splitBrain)
	p.b.until("split-brain", splitBrain)
	must(t, p.a.client.Resolve(context.Background(), control.Resolve{Discard: "peer"}))
	p.a.until("split-brain again", splitBrain)
	must(t, p.b.write(3<<20, pattern(3, 64<<10)))
	must(t, p.b.flush())
	must(t, p.b.client.Demote(context.Background()))
	must(t, p.b.client.Connect(context.Background()))
	must(t, p.a.client.Connect(context.Background()))
	p.b.until("split-brain again", splitBrain)
	p.a.until("split-brain again", splitBrain)
	p.a.end()
	p.b.end()
	if !bytes.Equal(p.b.image()[3<<20:3<<20+64<<10], pattern(3, 64<<10)) {
		t.Fatal("what the peer wrote after it had refused is gone")
	}
}

func TestAnOlderImageIsNoticedBeforeAByteMoves(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	must(t, p.a.write(0, pattern(1, 4096)))
	p.b.end()
	old, err := os.ReadFile(p.b.config.Backing)
	must(t, err)
	p.b.start()
	p.b.until("in sync", inSync)
	must(t, p.a.write(4096, pattern(2, 4096)))
	must(t, p.a.flush())
	p.b.end()
	must(t, os.WriteFile(p.b.config.Backing, old, 0o600))
	must(t, os.RemoveAll(p.b.config.StateDir)) // the disk and its record went back together
	p.b.start()
	st := p.a.until("noticed", func(s control.Status) bool { return s.Verdict != "" && s.Verdict[:9] == "went_back" })
	t.Log(st.Verdict)
	p.b.until("UpToDate again", func(s control.Status) bool { return s.Disk == "UpToDate" })
	must(t, p.a.client.Demote(context.Background()))
	p.a.end()
	p.b.end()
	p.equal()
}

func TestABlankDiskIsNoticed(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.end()
	must(t, os.WriteFile(p.b.config.Backing, make([]byte, testSize), 0o600))
	p.b.start()
	st := p.b.until("no disk", func(s control.Status) bool { return s.ProblemCode == "no_disk" })
	if st.Disk != "Diskless" || st.Connection != "StandAlone" {
		t.Fatalf("a blank disk is %s, %s", st.Disk, st.Connection)
	}
	t.Log(st.Problem)
	if a := p.b.outdate(p.a.request(1)); a.Result != "failed" {
		t.Fatalf("answer of a volume without a disk: %+v", a)
	}
	p.a.permit("peer_failed", 1)
	must(t, p.a.write(0, pattern(2, 4096)))
	_, err := Create(CreateOptions{Name: "data", Node: "b", Backing: p.b.config.Backing, StateDir: p.b.config.StateDir})
	must(t, err)
	p.b.until("in sync again, by itself", inSync)
	must(t, p.a.client.Demote(context.Background()))
	p.a.end()
	p.b.end()
	p.equal()
}

// A side without a disk is named as such by the other, and not as one of another cluster.
func TestAPeerWithoutADiskIsNamed(t *testing.T) {
	p := newPair(t, testSize)
	must(t, os.Remove(p.a.config.Backing))
	p.a.start()
	p.b.start()
	p.b.until("the peer's refusal", func(s control.Status) bool { return strings.Contains(s.Problem, "node a has no working disk") })
}

func TestADiskThatComesBackStandsByWhatWasSaidWithoutIt(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.disconnect()
	p.b.end()
	away := p.b.config.Backing + ".away"
	must(t, os.Rename(p.b.config.Backing, away))
	must(t, os.WriteFile(p.b.config.Backing, make([]byte, testSize), 0o600))
	p.b.start()
	p.b.until("no disk", func(s control.Status) bool { return s.ProblemCode == "no_disk" })
	if a := p.b.outdate(p.a.request(1)); a.Result != "failed" {
		t.Fatalf("answer of a volume without a disk: %+v", a)
	}
	must(t, os.Rename(away, p.b.config.Backing))
	p.b.until("Outdated", func(s control.Status) bool { return s.Disk == "Outdated" })
}

func TestLeaveTellsThePrimary(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	p.a.promote(1)
	p.b.until("peer primary", func(s control.Status) bool { return s.PeerRole == "Primary" })
	must(t, p.b.client.Leave(context.Background()))
	if st := p.a.until("told", func(s control.Status) bool { return s.PeerRecord != "" }); st.PeerRecord != "outdated" {
		t.Fatalf("record %q", st.PeerRecord)
	}
	if st := p.b.status(); st.Disk != "Outdated" || st.Connection != "StandAlone" {
		t.Fatalf("the one that left is %s, %s", st.Disk, st.Connection)
	}
}

func TestLeaveInSyncBetweenSecondaries(t *testing.T) {
	p := newPair(t, testSize)
	p.both()
	must(t, p.b.client.Leave(context.Background()))
	if st := p.a.until("told", func(s control.Status) bool { return s.PeerRecord != "" }); st.PeerRecord != "left_in_sync" {
		t.Fatalf("record %q", st.PeerRecord)
	}
}
