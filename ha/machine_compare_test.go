package ha

import (
	"slices"
	"testing"
	"time"
)

// TestMeetingNotYetTold: when two idle nodes have just connected with equal data, each settles its own disk before it hears that the other did the same. Seen from
// either side the other is not behind in that moment: the last primary serves again, not the one that looks first.
func TestMeetingNotYetTold(t *testing.T) {
	tests := []struct {
		name       string
		disk, peer Disk
		last       bool
		want       Role
		reason     Reason
	}{
		{"only this side has settled", UpToDate, Consistent, false, Starting, ReasonComparing},
		{"only this side has settled, outdated before", UpToDate, Outdated, false, Starting, ReasonComparing},
		{"nothing is heard of the peer's disk", UpToDate, DUnknown, true, Starting, ReasonComparing},
		{"only the peer has settled", Consistent, UpToDate, true, Starting, ReasonComparing},
		{"both, the peer was the last primary", UpToDate, UpToDate, false, Slave, ReasonPeerPreferred},
		{"both, this side was the last primary", UpToDate, UpToDate, true, Promoting, ReasonLastPrimary},
		{"the peer is the target of a resync", UpToDate, Inconsistent, false, Promoting, ReasonDataAhead},
		{"this side is the target of a resync", Inconsistent, UpToDate, true, Slave, ReasonPeerPreferred},
	}
	for _, tt := range tests {
		f := pair()
		beat := *f.Other.Beat
		beat.Role = Slave
		beat.Volumes = []VolumeSaying{{Name: "data", Generation: "g", Disk: tt.peer, Connected: true, LastPrimary: !tt.last}}
		f.Other.Beat = &beat
		v := &f.Volumes[0]
		v.Disk, v.PeerDisk, v.PeerRole, v.LastPrimary = tt.disk, tt.peer, Secondary, tt.last
		p := NewMachine(f.Durable).Step(f)
		if p.Role != tt.want || !slices.Contains(p.Why, tt.reason) {
			t.Errorf("%s: %s (%v), want %s (%s)", tt.name, p.Role, p.Why, tt.want, tt.reason)
		}
	}
}

// TestNoSource: when nobody serves and the comparisons name no source, the reason says which of two it is.
func TestNoSource(t *testing.T) {
	tests := []struct {
		one, two Comparison
		want     Reason
	}{
		{CompareAhead, CompareBehind, ReasonDataMixed},
		{CompareEqual, CompareRefused, ReasonDataRefused},
		{CompareAhead, CompareRefused, ReasonDataRefused},
		{CompareBehind, CompareDiverged, ReasonSplitBrain},
	}
	for _, tt := range tests {
		f := pair()
		beat := *f.Other.Beat
		beat.Role = Slave
		f.Other.Beat, f.Other.Snapshots = &beat, map[string]Comparison{"data": tt.one, "more": tt.two}
		f.Volumes[0].Connected = false
		more := f.Volumes[0]
		more.Name = "more"
		f.Volumes = append(f.Volumes, more)
		if p := NewMachine(f.Durable).Step(f); p.Role != Blocked || p.Reason != tt.want {
			t.Errorf("%s and %s: %s (%s), want blocked (%s)", tt.one, tt.two, p.Role, p.Reason, tt.want)
		}
	}
}

// TestChosenAsksUnderTheHighestEpoch: the one of two idle nodes that is chosen asks for Outdated under the highest epoch that is known, and
// anew when a higher one is heard: the other's volume refuses its own epoch of an earlier office, and a machine that has booted has none.
func TestChosenAsksUnderTheHighestEpoch(t *testing.T) {
	f := pair()
	beat := *f.Other.Beat
	beat.Role = Slave
	f.Other.Beat, f.Other.Snapshots = &beat, map[string]Comparison{"data": CompareAhead}
	f.Volumes[0].Connected = false
	m := NewMachine(f.Durable)
	m.Step(f)
	var last Request
	for _, counter := range []uint64{3, 7} {
		f.Now = f.Now.Add(settleTime + time.Millisecond)
		f.References[0].AskedAt, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now, f.Now
		beat.Epoch.Counter = counter
		p := m.Step(f)
		if len(p.Say.Requests) != 1 || p.Say.Requests[0].Epoch != beat.Epoch || p.Say.Requests[0].Number == last.Number {
			t.Fatalf("highest epoch %v, asked before with %+v: asks with %+v (%s, %v)", beat.Epoch, last, p.Say.Requests, p.Role, p.Why)
		}
		last = p.Say.Requests[0]
	}
}

// TestAnswersComeOneByOne: of two volumes each is answered in a beat of its own, and the peer repeats an answer only as long as it is asked: the node that
// was chosen starts when both have been heard.
func TestAnswersComeOneByOne(t *testing.T) {
	f := pair()
	beat := *f.Other.Beat
	beat.Role = Slave
	f.Volumes[0].Connected = false
	more := f.Volumes[0]
	more.Name = "more"
	f.Volumes = append(f.Volumes, more)
	f.Other.Beat, f.Other.Snapshots = &beat, map[string]Comparison{"data": CompareAhead, "more": CompareAhead}
	m := NewMachine(f.Durable)
	m.Step(f)
	step := func(d time.Duration) Plan {
		f.Now = f.Now.Add(d)
		f.References[0].AskedAt, f.Other.FreshAt, f.Other.Confirmed, f.Other.EchoedSent = f.Now, f.Now, f.Now, f.Now
		return m.Step(f)
	}
	asked := step(settleTime + time.Millisecond).Say.Requests
	if len(asked) != 2 {
		t.Fatalf("asked %+v", asked)
	}
	for i, r := range asked {
		beat.Answers = []Answer{{Number: r.Number, Boot: f.Boot, Kind: r.Kind, Volume: r.Volume, Generation: r.Generation, Session: r.Session,
			Epoch: r.Epoch, Result: AnsweredOutdated}}
		p := step(200 * time.Millisecond)
		if promoting := p.Role == Promoting; promoting != (i == 1) {
			t.Fatalf("after the answer for %s: %s (%v)", r.Volume, p.Role, p.Why)
		}
	}
}
