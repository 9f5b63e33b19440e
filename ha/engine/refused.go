package engine

import (
	"fmt"
	"slices"

	"evenkeel/ha"
	"evenkeel/ha/beat"
	"evenkeel/ha/control"
	"evenkeel/ha/heart"
)

// refusedShown is how long a refused frame is shown after the last one of its kind.
const refusedShown = 10_000_000_000 // ns, as ha.Instant

// refusedWords say for each refusal what is heard over a link, and what a person does about it. Replays and frames of no shape are only counted: a
// noisy line makes them too. So is our own beat that a broadcast brings back.
var refusedWords = map[beat.Refusal][2]string{
	beat.Cluster:  {"beats of another cluster id", "If they are the other node's, set the same cluster id on both; if they are another pair's, check the cable."},
	beat.Key:      {"beats that no key of this pair signed", "Put the same key file on both nodes, or find who sends them."},
	beat.Version:  {"beats in another version's format", "Install the same version of Evenkeel on both nodes."},
	beat.Stranger: {"beats of a node that does not belong to this pair", "Check the nodes' ids on the General page of both."},
	beat.TTL:      {"beats that came through a router", "Connect both nodes to the same network; a beat never crosses a router."},
	beat.Crossed:  {"beats that were sent on another link", "Two of the heartbeat's devices are on one network: separate them."},
}

// refusedState remembers when each kind of frame was last refused on each link.
type refusedState struct {
	counts map[string]map[string]uint64
	last   map[string]map[string]ha.Instant
}

// follow compares heart's counters with those before. A restarted heart counts from nothing: a smaller figure is a new one.
func (s *refusedState) follow(counters map[string]heart.Counters, at ha.Instant) {
	if s.last == nil {
		s.counts, s.last = map[string]map[string]uint64{}, map[string]map[string]ha.Instant{}
	}
	for link, c := range counters {
		if s.last[link] == nil {
			s.last[link] = map[string]ha.Instant{}
		}
		for why, n := range c.Refused {
			if n != s.counts[link][why] && n > 0 {
				s.last[link][why] = at
			}
		}
		s.counts[link] = c.Refused
	}
}

// refusedConditions name what is heard in the other node's place, on links where the other node is not heard: on a working link strangers
// are counted and do no harm.
func (e *engine) refusedConditions() (list []ha.Condition) {
	at := now()
	for _, link := range e.heart.report.Facts.Links {
		if link.State == ha.LinkUp {
			continue
		}
		kinds := make([]string, 0, len(refusedWords))
		for why := range refusedWords {
			if t := e.foreign.last[link.Name][string(why)]; t != 0 && at-t < refusedShown {
				kinds = append(kinds, string(why))
			}
		}
		slices.Sort(kinds)
		for _, why := range kinds {
			words := refusedWords[beat.Refusal(why)]
			list = append(list, ha.Condition{Code: "link.refused", Severity: ha.Warning, Side: "pair", Key: link.Name + " " + why,
				Text: fmt.Sprintf("Over heartbeat link %s come %s; the other node is not heard there.", link.Name, words[0]), Remedy: words[1]})
		}
	}
	return list
}

// versionConditions name a peer that runs other software.
func (e *engine) versionConditions() []ha.Condition {
	b := e.heart.report.Beat
	if b == nil || b.Version == e.o.Version || e.plan.Verdict != ha.PeerAlive {
		return nil
	}
	return []ha.Condition{{Code: "version.differ", Severity: ha.Warning, Side: "pair",
		Text:   fmt.Sprintf("The other node runs version %q of Evenkeel, this one %q.", b.Version, e.o.Version),
		Remedy: "Install the same version on both nodes, the one on standby first."}}
}

// noteObserved writes an event when one of the conditions above begins, so that the log names it too.
func (e *engine) noteObserved(list []ha.Condition) {
	for _, c := range list {
		if _, stands := e.conditions[[2]string{c.Code, c.Key}]; !stands {
			e.note(control.Event{Log: "heartbeat", Code: c.Code, Severity: c.Severity, Text: c.Text})
		}
	}
}
