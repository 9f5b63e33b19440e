package heart

import (
	"time"

	"evenkeel/ha"
	"evenkeel/ha/beat"
)

// voice is what our beats say: the engine's last word, and how old it is. It is pure.
type voice struct {
	boot   ha.BootName
	seq    uint64 // of the newest beat sent
	say    ha.Saying
	pages  []beat.Page
	stepAt ha.Instant // the engine's last completed Step; 0 = never known
	since  ha.Instant // start of this process
	silent bool       // no order came since then: promises are not repeated, for the engine may have withdrawn them
}

const (
	engineGoneAfter = 10 * time.Second // the volumes revoke themselves then by their own timers
	engineQuiet     = time.Second      // from here on the peer's confirmation counts for renewals
	engineGrace     = time.Second      // a restarted heart gives the engine this long to be heard
)

func (v *voice) engineAge(now ha.Instant) time.Duration {
	from := v.stepAt
	if from == 0 {
		from = v.since
	}
	return max(now.Sub(from), 0)
}

func (v *voice) engineGone(now ha.Instant) bool {
	return v.engineAge(now) > engineGoneAfter && now.Sub(v.since) > engineGrace
}

// promises are what is left of those that the engine made with its last Step: they run from there, not from each beat.
func (v *voice) promises(dst []time.Duration, now ha.Instant) []time.Duration {
	for i := range v.say.Volumes {
		left := v.say.Volumes[i].Promise - v.engineAge(now)
		if v.silent {
			left = 0
		}
		dst = append(dst, max(left, 0))
	}
	return dst
}

// mayRenew says whether virtual addresses may live on: e is the age of our newest beat that the peer confirmed, wokeAt the end of a
// stretch in which this machine stood still for D/2 or more. After such a sleep the engine has to speak first.
func (v *voice) mayRenew(now, confirmed, wokeAt ha.Instant, dead time.Duration) bool {
	age := v.engineAge(now)
	switch {
	case v.silent && v.stepAt == 0, wokeAt != 0 && v.stepAt <= wokeAt:
		return false
	case age < engineQuiet:
		return true
	}
	return age < engineGoneAfter && confirmed != 0 && now.Sub(confirmed) < dead*4/5
}

// replaced says whether the peer holds the role, or takes it, under a higher epoch than the engine said last. A silent engine cannot yield.
func (v *voice) replaced(now ha.Instant, b *ha.Beat) bool {
	return v.engineAge(now) >= engineQuiet && b != nil && (b.Role == ha.Master || b.Role == ha.Promoting) && v.say.Epoch.Less(b.Epoch)
}
