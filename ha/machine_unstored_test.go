package ha

import (
	"slices"
	"testing"
)

// TestUnstored: while a node's own state cannot be stored it serves on, asks and permits as ever, and takes no wish that would have to be kept.
func TestUnstored(t *testing.T) {
	m, f := masterWithoutConnection(t)
	f.Unstored = true
	f.Requests = []AdminRequest{{Number: 1, Kind: WishDisarm}, {Number: 2, Kind: WishStandby}, {Number: 3, Kind: WishActive}, {Number: 4, Kind: WishArm}}
	beat := *f.Other.Beat
	beat.Armed = true
	f.Other.Beat = &beat
	p := m.Step(f)
	if p.Role != Master || p.Store != nil || len(p.Say.Requests) != 1 {
		t.Fatalf("%s, store %+v, requests %+v: want a master that asks and stores nothing", p.Role, p.Store, p.Say.Requests)
	}
	if len(p.Replies) != 4 {
		t.Fatalf("replies %+v", p.Replies)
	}
	for _, r := range p.Replies {
		if !r.Refused || r.Code != ReasonUnstored {
			t.Errorf("wish %d: %+v", r.Number, r)
		}
	}
	f.Requests = nil
	said := *f.Other.Beat
	said.Armed = false // a person disarms the pair on the other node
	f.Other.Beat = &said
	if p := m.Step(f); p.Store != nil || !p.Say.Armed {
		t.Fatalf("armed %v, store %+v: what cannot be kept is not followed", p.Say.Armed, p.Store)
	}
	f.Unstored = false
	if p := m.Step(f); p.Store == nil || p.Say.Armed {
		t.Errorf("armed %v, store %+v: it is followed when it can be kept", p.Say.Armed, p.Store)
	}
}

// TestUnstoredTakesNothing: a slave whose own state cannot be stored does not begin a promotion that it could not keep, whichever way the role comes to it.
func TestUnstoredTakesNothing(t *testing.T) {
	t.Run("the master dies", func(t *testing.T) {
		m, f := slaveMachine(t), silent(pair())
		f.Unstored = true
		if p := m.Step(f); p.Role != Blocked || p.Reason != ReasonUnstored || p.Procedure != nil || p.Takeover.Possible {
			t.Errorf("%s (%s), %+v, takeover %+v", p.Role, p.Reason, p.Procedure, p.Takeover)
		}
		f.Unstored, f.Volumes[0].Disk, f.Volumes[0].Licence = false, Consistent, false
		if p := m.Step(f); p.Role != Blocked || p.Reason != ReasonDiskConsistent {
			t.Errorf("when there is room again: %s (%s)", p.Role, p.Reason)
		}
	})
	t.Run("the master gives the role away", func(t *testing.T) {
		f := pair()
		beat := *f.Other.Beat
		beat.Role, beat.Release = Slave, &Release{Epoch: beat.Epoch}
		f.Other.Beat, f.Unstored = &beat, true
		f.Volumes[0].PeerRole = Secondary
		m := NewMachine(f.Durable)
		if p := m.Step(f); p.Role == Promoting || !slices.Contains(p.Why, ReasonUnstored) {
			t.Errorf("%s (%v)", p.Role, p.Why)
		}
		f.Unstored = false
		if p := m.Step(f); p.Role != Promoting {
			t.Errorf("when it can be stored: %s (%v)", p.Role, p.Why)
		}
	})
	t.Run("nobody serves", func(t *testing.T) {
		f := pair()
		beat := *f.Other.Beat
		beat.Role = Slave
		f.Other.Beat, f.Unstored = &beat, true
		f.Volumes[0].PeerRole, f.Volumes[0].LastPrimary = Secondary, true
		if p := NewMachine(f.Durable).Step(f); p.Role != Blocked || p.Reason != ReasonUnstored {
			t.Errorf("%s (%s, %v)", p.Role, p.Reason, p.Why)
		}
	})
}

// TestAnswerIsForItsLoss: an answer that this volume gave to a request of the same number, for an earlier loss, is not given again: the volume is asked anew.
func TestAnswerIsForItsLoss(t *testing.T) {
	f := pair()
	f.Durable = Durable{Armed: true, Epoch: Epoch{4, "a"}}
	beat := *f.Other.Beat
	beat.Role, beat.Epoch = Master, Epoch{4, "a"}
	r := Request{Number: 1, Kind: AskOutdate, Volume: "data", Generation: "g", Session: 5}
	beat.Requests = []Request{r}
	f.Other.Beat = &beat
	v := &f.Volumes[0]
	v.Connected, v.Session, v.LostAt = false, 5, f.Now
	v.AnsweredNow = []Answer{{Number: 1, Boot: beat.Boot, Kind: AskOutdate, Volume: "data", Result: AnsweredOutdated, Generation: "g", Session: 4}}
	m := NewMachine(f.Durable)
	m.Step(f)
	f.Now = f.Now.Add(1)
	f.Other.Confirmed = f.Now.Add(1) // the asker hears this node
	p := m.Step(f)
	if len(p.Say.Answers) != 0 || p.Volumes[0].Outdate == nil || *p.Volumes[0].Outdate != r {
		t.Errorf("answers %+v, outdate %+v: want the volume to be asked", p.Say.Answers, p.Volumes[0].Outdate)
	}
}

// TestUnstoredIsNotHealthy: a slave whose own state cannot be stored refuses the role, so it says in its beats that it is not healthy, and a master
// whose slave says so offers no hand-over to it.
func TestUnstoredIsNotHealthy(t *testing.T) {
	f := pair()
	f.Durable = Durable{Armed: true, Epoch: Epoch{4, "a"}}
	f.Unstored = true
	if p := NewMachine(f.Durable).Step(f); p.Say.Healthy {
		t.Error("a node that cannot store its state calls itself healthy")
	}
	f.Unstored = false
	if p := NewMachine(f.Durable).Step(f); !p.Say.Healthy {
		t.Error("the same node with room calls itself unhealthy")
	}
}
