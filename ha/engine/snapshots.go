package engine

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"evenkeel/ha"
)

// snapshotState is the exchange of the volumes' generation sets with the peer.
type snapshotState struct {
	busy    bool
	askedAt ha.Instant
	results map[string]ha.Comparison
	at      ha.Instant        // of results
	byBeat  map[string]uint64 // volume to the number of the request that stands in our beats
	number  uint64
	answers map[string]ha.Answer // by volume: what we answer the peer's request with
	reading bool
	readAt  ha.Instant
	handled map[string]uint64 // volume to the newest answer of the peer's that was compared
}

// snapshotLife is how long a comparison counts: the sets may move.
const snapshotLife = 3 * time.Second

// beatRequest marks the numbers of the engine's own requests in beats, so that they never meet those of the machine.
const beatRequest = 1 << 62

// fresh are the comparisons that still count.
func (s *snapshotState) fresh(at ha.Instant) map[string]ha.Comparison {
	if s.at == 0 || at.Sub(s.at) > snapshotLife {
		return nil
	}
	return s.results
}

// askSnapshots exchanges the generation sets while the plan wants it: over the peer channel, and if that is silent, by beats.
func (e *engine) askSnapshots(f ha.Facts, p ha.Plan) {
	if !p.AskSnapshots {
		e.snapshots.results, e.snapshots.at, e.snapshots.byBeat, e.snapshots.handled = nil, 0, nil, nil
		return
	}
	if e.snapshots.busy || f.Now.Sub(e.snapshots.askedAt) < 500*time.Millisecond {
		return
	}
	e.snapshots.busy, e.snapshots.askedAt = true, f.Now
	handles := e.runningVolumes()
	e.goRun("snapshots", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		results, err := e.compareAll(ctx, handles)
		e.post(func() {
			e.snapshots.busy = false
			if err != nil {
				e.snapshots.ask(e.volumeNames())
				return
			}
			e.snapshots.results, e.snapshots.at = results, now()
		})
	})
}

func (e *engine) runningVolumes() map[string]Volume {
	handles := map[string]Volume{}
	for name, v := range e.volumes {
		if v.fact().Running {
			handles[name] = v.handle
		}
	}
	return handles
}

// compareAll gets the peer's sets over the peer channel and has each volume compare.
func (e *engine) compareAll(ctx context.Context, handles map[string]Volume) (map[string]ha.Comparison, error) {
	if e.peer.client == nil {
		return nil, errNoPeer
	}
	var sets map[string][]byte
	if err := e.peer.client.Get(ctx, "/v1/snapshots", &sets); err != nil {
		return nil, err
	}
	results := map[string]ha.Comparison{}
	for name, handle := range handles {
		set, known := sets[name]
		if !known {
			continue
		}
		comparison, err := handle.Compare(ctx, set)
		if err != nil {
			return nil, err
		}
		results[name] = comparison
	}
	if len(results) < len(handles) {
		return results, errors.New("the other node has not all of the volumes running")
	}
	return results, nil
}

// ask puts a request for every volume into the beats.
func (s *snapshotState) ask(names []string) {
	if s.byBeat == nil {
		s.byBeat, s.handled = map[string]uint64{}, map[string]uint64{}
	}
	for _, name := range names {
		if s.byBeat[name] == 0 {
			s.number++
			s.byBeat[name] = beatRequest | s.number
		}
	}
}

// exchangeByBeat adds our requests and answers to what the next beat says, as far as there is room, and takes the peer's answers.
func (e *engine) exchangeByBeat(f ha.Facts, say *ha.Saying) {
	for _, name := range e.volumeNames() {
		if number := e.snapshots.byBeat[name]; number != 0 && len(say.Requests) < 4 {
			say.Requests = append(slices.Clip(say.Requests), ha.Request{Number: number, Kind: ha.AskSnapshots, Volume: name, Epoch: e.durable.Epoch})
		}
	}
	b := f.Other.Beat
	if b == nil {
		return
	}
	e.answerSnapshots(f, b, say)
	for _, a := range b.Answers {
		mine := a.Kind == ha.AskSnapshots && a.Boot == e.boot && a.Number == e.snapshots.byBeat[a.Volume] && a.Number != 0
		if mine && a.Result == ha.AnsweredSnapshot && e.snapshots.handled[a.Volume] != a.Number {
			e.snapshots.handled[a.Volume] = a.Number
			e.compareOne(a)
		}
	}
}

// answerSnapshots answers the peer's requests with our newest sets.
func (e *engine) answerSnapshots(f ha.Facts, b *ha.Beat, say *ha.Saying) {
	asked := false
	for _, r := range b.Requests {
		if r.Kind != ha.AskSnapshots || hasAnswer(*say, r) {
			continue
		}
		asked = true
		if a, known := e.snapshots.answers[r.Volume]; known && len(say.Answers) < 4 {
			a.Number, a.Boot, a.Epoch = r.Number, b.Boot, r.Epoch
			say.Answers = append(slices.Clip(say.Answers), a)
		}
	}
	if !asked || e.snapshots.reading || f.Now.Sub(e.snapshots.readAt) < 500*time.Millisecond {
		return
	}
	e.snapshots.reading = true
	handles := e.runningVolumes()
	e.goRun("own snapshots", func(ctx context.Context) {
		answers := map[string]ha.Answer{}
		for name, set := range ownSnapshots(ctx, handles) {
			answers[name] = ha.Answer{Kind: ha.AskSnapshots, Volume: name, Result: ha.AnsweredSnapshot, Payload: set}
		}
		e.post(func() { e.snapshots.reading, e.snapshots.readAt, e.snapshots.answers = false, now(), answers })
	})
}

func ownSnapshots(ctx context.Context, handles map[string]Volume) map[string][]byte {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	sets := map[string][]byte{}
	for name, handle := range handles {
		if set, err := handle.Snapshot(ctx); err == nil {
			sets[name] = set
		}
	}
	return sets
}

// compareOne has a volume compare what the peer answered by beat; then it asks anew, because sets move.
func (e *engine) compareOne(a ha.Answer) {
	handle, known := e.runningVolumes()[a.Volume]
	if !known {
		return
	}
	e.goRun("compare "+a.Volume, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, volumeCallLimit)
		defer cancel()
		comparison, err := handle.Compare(ctx, a.Payload)
		e.post(func() {
			delete(e.snapshots.byBeat, a.Volume)
			if err != nil {
				return
			}
			if e.snapshots.results == nil {
				e.snapshots.results = map[string]ha.Comparison{}
			}
			e.snapshots.results[a.Volume], e.snapshots.at = comparison, now()
		})
	})
}

// getSnapshots answers the peer's engine.
func (e *engine) getSnapshots(w http.ResponseWriter, r *http.Request) {
	var handles map[string]Volume
	if err := e.ask(r.Context(), time.Second, func() { handles = e.runningVolumes() }); err != nil {
		errStarting.Write(w)
		return
	}
	answerJSON(w, ownSnapshots(r.Context(), handles))
}
