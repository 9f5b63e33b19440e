package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// pairedPeer is a peer with the same volume: it stands by, answers for its generation set by beat, and takes the role when it is released.
type pairedPeer struct {
	mu     sync.Mutex
	master bool
	epoch  ha.Epoch
}

func (p *pairedPeer) beat(at ha.Instant, heard ha.Saying) *ha.Beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &ha.Beat{Node: "b", Boot: ha.BootName{2}, SentAt: at, Saying: ha.Saying{Role: ha.Slave, Armed: true, Healthy: true, Mode: ha.Evidence,
		DeadTime: 600 * time.Millisecond, Revision: 1, Volumes: []ha.VolumeSaying{{Name: "data", Generation: "00112233445566778899aabbccddeeff",
			Role: ha.Secondary, Disk: ha.UpToDate, Connected: true, Promise: time.Second}}}}
	if heard.Release != nil {
		p.master, p.epoch = true, ha.Epoch{Counter: heard.Release.Epoch.Counter + 1, Node: "b"}
	}
	if p.master {
		b.Role, b.Epoch = ha.Master, p.epoch
		b.Volumes[0].Role = ha.Primary
	}
	return b
}

// answering adds the answers to the engine's requests; boot is the engine's, which the real peer reads from the beat's header.
func (p *pairedPeer) answering(boot func() ha.BootName) func(at ha.Instant, heard ha.Saying) *ha.Beat {
	return func(at ha.Instant, heard ha.Saying) *ha.Beat {
		b := p.beat(at, heard)
		for _, r := range heard.Requests {
			if r.Kind == ha.AskSnapshots {
				b.Answers = append(b.Answers, ha.Answer{Number: r.Number, Boot: boot(), Kind: r.Kind, Volume: r.Volume,
					Result: ha.AnsweredSnapshot, Payload: []byte(r.Volume)})
			}
		}
		return b
	}
}

// newPair is a bench with a connected volume and a peer.
func newPair(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, true)
	b.computer.addVolume("data", true)
	peer := &pairedPeer{}
	b.heart.peer = peer.answering(func() ha.BootName {
		name, err := bootName(b.options.Config.RunDir)
		if err != nil {
			t.Error(err)
		}
		return name
	})
	return b
}

func whole(s control.Status) bool {
	return s.State == string(ha.Master) && held(s) && s.Volumes[0].Role == "Primary" && s.Volumes[0].Mount != nil && serviceIs(s, "guestbook", "running") &&
		s.Procedure != nil && s.Procedure.State == "done"
}

func serviceIs(s control.Status, name, state string) bool {
	for _, service := range s.Services {
		if service.Name == name {
			return service.State == state
		}
	}
	return false
}

// clean: nothing of a master is left on this node.
func clean(s control.Status) bool {
	return s.State == string(ha.Slave) && !held(s) && s.Volumes[0].Role == "Secondary" && s.Volumes[0].Mount == nil && !serviceIs(s, "guestbook", "running")
}

// Both alive, neither master: the generation sets, by beat because there is no peer channel, decide for the configured master.
func TestGenerationSetsByBeat(t *testing.T) {
	b := newPair(t)
	b.start()
	b.await("whole", whole)
}

// The role is given away in order, and the release is said only when nothing of the master is left.
func TestReleases(t *testing.T) {
	b := newPair(t)
	b.start()
	b.await("whole", whole)
	out, err := b.client.Release(t.Context(), control.Order{By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if !out.Done || out.Role != "slave" {
		t.Errorf("outcome %+v", out)
	}
	b.await("clean slave", clean)
	inOrder(t, b.computer.history(), "guestbook stopped", "unmount /srv/data", "device off", "demote", "addresses off")
}

// An engine that dies at any step of a promotion ends as a whole master or with nothing left, and nothing is mounted twice.
func TestKilledAtEachStepOfAPromotion(t *testing.T) {
	for _, s := range stepsOf(ha.ProcedurePromote) {
		for _, when := range []string{"before", "after"} {
			t.Run(s.name+" "+when, func(t *testing.T) {
				t.Parallel()
				b := newPair(t)
				b.killAt = fmt.Sprintf("%s:%s:%s", ha.ProcedurePromote, s.name, when)
				b.start()
				b.restartAfterDeath()
				b.await("whole", func(s control.Status) bool { return wholeAfterRestart(s) })
				if b.computer.twice {
					t.Errorf("mounted twice: %s", b.computer.history())
				}
			})
		}
	}
}

// An engine that died between putting the addresses on and telling it: the next one tells it.
func TestAdoptedAddressesAreAnnounced(t *testing.T) {
	b := newPair(t)
	b.killAt = "promote:addresses:after"
	b.start()
	b.restartAfterDeath()
	b.await("whole", wholeAfterRestart)
	inOrder(t, b.computer.history(), "address 10.88.1.100/24", "announce")
}

// wholeAfterRestart is whole, without a procedure: an adopted master needs none.
func wholeAfterRestart(s control.Status) bool {
	if s.Procedure == nil {
		s.Procedure = &control.Procedure{State: "done"}
	}
	return whole(s)
}

// An engine that dies at any step of a demotion ends as a whole master (nobody asks for the role any more) or with nothing left.
func TestKilledAtEachStepOfADemotion(t *testing.T) {
	for _, s := range stepsOf(ha.ProcedureDemote) {
		for _, when := range []string{"before", "after"} {
			t.Run(s.name+" "+when, func(t *testing.T) {
				t.Parallel()
				b := newPair(t)
				b.killAt = fmt.Sprintf("%s:%s:%s", ha.ProcedureDemote, s.name, when)
				b.start()
				b.await("whole", whole)
				go b.client.Release(t.Context(), control.Order{By: "test"}) // it breaks off with the engine
				b.restartAfterDeath()
				b.await("whole or clean", func(s control.Status) bool { return wholeAfterRestart(s) || clean(s) })
				if b.computer.twice {
					t.Errorf("mounted twice: %s", b.computer.history())
				}
			})
		}
	}
}

// restartAfterDeath waits until the engine has died at killAt, and starts the next one.
func (b *bench) restartAfterDeath() {
	b.t.Helper()
	select {
	case <-b.done:
	case <-time.After(20 * time.Second):
		b.t.Fatalf("the engine never came to %s; done: %s", b.killAt, b.computer.history())
	}
	b.stop = nil
	b.start()
}
