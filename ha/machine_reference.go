package ha

import (
	"slices"
	"time"
)

// followReferences keeps which answer of the reference points is the newest, and since when one that counts has been at hand.
//
// One good answer may be luck: a point whose answers come late or not always is good at one moment and not at the next. To act on a silence
// needs answers without a gap; to stay in an office that was taken needs one that is young enough. Were both the same, a takeover would be
// revoked a moment after it began.
func (t *turn) followReferences() {
	for _, r := range t.f.References {
		if r.State == ReferenceGood {
			t.points.goodAt = max(t.points.goodAt, r.AskedAt)
		}
	}
	switch {
	case !t.referenceHeld():
		t.points.steadySince = 0
	case t.points.steadySince == 0:
		t.points.steadySince = t.f.Now
	}
}

// counts says whether a question asked then counts now: asked after the silence began, and less than D/4 ago.
func (t *turn) counts(asked Instant) bool {
	return asked >= max(t.peer.suspectAt, t.peer.wake) && t.since(asked) < t.d/4
}

// referenceGood says whether the newest question to some point was answered, and counts.
func (t *turn) referenceGood() bool {
	return slices.ContainsFunc(t.f.References, func(r ReferenceFact) bool {
		return r.State == ReferenceGood && t.counts(r.AskedAt)
	})
}

// referenceHeld says whether any answer counts, even if a newer question is still without one.
func (t *turn) referenceHeld() bool {
	return len(t.f.References) > 0 && t.points.goodAt != 0 && t.counts(t.points.goodAt)
}

// referenceSteady says whether the points have answered without a gap for D/4: what a decision to act on a silence needs. Who has just been
// revoked for being cut off needs it for D.
func (t *turn) referenceSteady() bool {
	need := t.d / 4
	if t.isolations > 0 {
		need = t.d
	}
	return t.referenceGood() && t.points.steadySince != 0 && t.since(t.points.steadySince) >= need
}

// referencePending says whether the next answers may still change what the points say: one has neither answered nor failed to answer a
// question that would count, or the answers have not come for long enough.
func (t *turn) referencePending() bool {
	return t.referenceHeld() || slices.ContainsFunc(t.f.References, func(r ReferenceFact) bool {
		return r.State == ReferenceUnknown || !t.counts(r.AskedAt)
	})
}

// needsReference says whether a takeover of a silent peer needs a reference point: always but in Availability.
func (t *turn) needsReference() bool { return !t.f.NoVolumes || t.f.Settings.Mode != Availability }

// referenceBlocker is what the points say against acting on a silence; empty = nothing.
func (t *turn) referenceBlocker() Reason {
	switch {
	case !t.needsReference() || t.referenceSteady():
		return ""
	case len(t.f.References) == 0:
		return ReasonNoReference
	}
	return ReasonReferenceLost
}

// seclude notes a revoke for being cut off: silence alone promotes nobody here for a while, longer each time, until the peer is heard
// or a mastership has lasted longer than the longest pause.
func (t *turn) seclude() {
	if t.role == Master && t.since(t.roleSince) >= longestPause {
		t.isolations = 0
	}
	t.isolations++
	t.cutOffAt, t.secluded = t.f.Now, t.f.Now.Add(pauseAfter(t.isolations))
}

// rejoin ends the seclusion once the peer has confirmed a beat that was sent after the revoke.
func (t *turn) rejoin() {
	if t.cutOffAt != 0 && t.peer.confirmed > t.cutOffAt {
		t.isolations, t.cutOffAt, t.secluded = 0, 0, 0
	}
}

// longestPause bounds the pauses after promotions that failed or were revoked.
const longestPause = 5 * time.Minute

// pauseAfter is the pause after so many failures in a row: 10 s, twice as long after each further one, at most longestPause.
func pauseAfter(failures int) time.Duration {
	return min(5*time.Second<<min(failures, 6), longestPause)
}
