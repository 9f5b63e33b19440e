package handlers

import (
	"fmt"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/templates"
)

// aged turns a state grey when what it rests on is old: a green lamp on a dead node is the worst fault a console can have.
func aged(s templates.State, stale bool) templates.State {
	if stale {
		return templates.State{Kind: templates.Unknown, Word: s.Word}
	}
	return s
}

// stale says whether something that came in then is too old to be trusted.
func (p *Pages) stale(then time.Time) bool { return p.Now().Sub(then) > StaleAfter }

// severityKind is the kind of state that a severity is shown as.
func severityKind(s ha.Severity) string {
	switch s {
	case ha.Critical:
		return templates.Critical
	case ha.Warning:
		return templates.Warning
	}
	return templates.Info
}

// roleState judges a node's state by itself.
func roleState(state string) templates.State {
	s := templates.State{Kind: templates.Unknown, Word: "unknown"}
	switch ha.Role(state) {
	case ha.Master, ha.Slave:
		s.Kind = templates.OK
	case ha.Starting, ha.Promoting, ha.Demoting:
		s.Kind = templates.Info
	case ha.Standby:
		s.Kind = templates.Warning
	case ha.Blocked, ha.Failed:
		s.Kind = templates.Critical
	default:
		return s
	}
	s.Word = capital(state)
	return s
}

// peerState judges the other node by what this one holds of it.
func peerState(peer control.Peer) templates.State {
	state := ""
	if peer.State != nil {
		state = *peer.State
	} else if peer.RunningRole != nil {
		state = *peer.RunningRole
	}
	switch ha.PeerVerdict(peer.Verdict) {
	case ha.PeerAlive:
		return roleState(state)
	case ha.PeerSuspect:
		return templates.State{Kind: templates.Warning, Word: "Suspect"}
	case ha.PeerSick:
		return templates.State{Kind: templates.Critical, Word: "Sick"}
	case ha.PeerDead:
		return templates.State{Kind: templates.Critical, Word: "Dead"}
	}
	return templates.State{Kind: templates.Unknown, Word: "Unknown"}
}

// stepWords say in words what the steps of the engine's procedures do; they fit both directions of a switch-over.
var stepWords = map[string]string{
	"volumes": "Role of the volumes", "device": "Block devices", "mount": "Mount the filesystems", "unmount": "Unmount the filesystems",
	"services-before": "Services that start before the addresses", "services": "Services", "addresses": "Virtual addresses", "verify": "Look whether everything stands",
	"revoke": "Revoke the volumes", "kill": "End the volumes' users", "device-off": "Take the block devices off",
}

// stepWord is a step in words; one that has none is shown as the engine calls it.
func stepWord(name string) string {
	if word := stepWords[name]; word != "" {
		return word
	}
	return name
}

// procedureWord is the noun of a procedure's kind.
func procedureWord(kind string) string {
	switch ha.ProcedureKind(kind) {
	case ha.ProcedurePromote:
		return "promotion"
	case ha.ProcedureDemote:
		return "demotion"
	case ha.ProcedureRecover:
		return "recovery"
	}
	return kind
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// ageText writes how old something is, as in "2 s ago".
func ageText(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	return spanText(d.Milliseconds()) + " ago"
}

// heardText writes how long ago something was heard: what is younger than a second is now, so that nothing flickers while all is well.
func heardText(ms int64) string {
	if ms < 1000 {
		return "now"
	}
	return spanText(ms) + " ago"
}

// spanText writes a length of time for people: 640 ms, 12 s, 3 min, 2 h, 5 d.
func spanText(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", ms/1000)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
}

// msText writes an age in ms that may be unknown.
func msText(ms *int64) string {
	if ms == nil {
		return "never"
	}
	return spanText(*ms)
}

// bytesText writes an amount of data with its unit, in steps of 1000.
func bytesText(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	value, i := float64(n), 0
	for value >= 999.5 && i < len(units)-1 {
		value, i = value/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}

// moment writes a time of day, with the day if that is not today's.
func moment(t, now time.Time) string {
	if t.Local().Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return t.Local().Format(time.TimeOnly)
	}
	return day(t)
}

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// otherSide is the other configured role.
func otherSide(side string) string {
	if side == string(ha.MasterSide) {
		return string(ha.SlaveSide)
	}
	return string(ha.MasterSide)
}

// bar makes the top bar from the newest status.
func (p *Pages) bar() templates.Bar {
	live := p.Live()
	b := templates.Bar{Node: p.Node, PeerURL: p.PeerURL, Peer: "the other node", Alarm: "/ha/status#conditions",
		Armed: templates.State{Kind: templates.OK, Word: "armed"}}
	if live.Own == nil {
		b.Stale, b.Age = true, "no status yet"
		b.Worst = templates.State{Kind: templates.Unknown, Word: "the engine does not answer"}
		b.Chips = []templates.Chip{{Node: p.Node, Role: "Unknown", Here: true, State: templates.State{Kind: templates.Unknown}}}
		return b
	}
	s := live.Own
	b.Stale = p.stale(live.OwnAt)
	b.Host, b.Peer = s.Hostname, s.Peer.Node
	b.Age = "as of now"
	if age := p.Now().Sub(live.OwnAt); age >= time.Second {
		b.Age = "as of " + ageText(age)
	}
	if b.Stale {
		b.Age = "no data for " + spanText(p.Now().Sub(live.OwnAt).Milliseconds())
	}
	if !s.Armed {
		b.Armed = templates.State{Kind: templates.Warning, Word: "disarmed"}
	}
	if s.Settings.Pending != nil {
		b.Pending = *s.Settings.Pending
	}
	b.Worst = worst(s)
	if b.Stale {
		b.Worst = templates.State{Kind: templates.Unknown, Word: "not known now"}
	}
	own, peer := aged(roleState(s.State), b.Stale), aged(peerState(s.Peer), b.Stale)
	here := templates.Chip{Node: s.Node, Role: own.Word, Here: true, State: own}
	there := templates.Chip{Node: s.Peer.Node, Role: peer.Word, State: peer}
	if s.Peer.LastHeardMS != nil {
		there.Age = heardText(*s.Peer.LastHeardMS)
	}
	b.Chips = []templates.Chip{here, there}
	if s.ConfiguredRole == string(ha.SlaveSide) {
		b.Chips = []templates.Chip{there, here}
	}
	return b
}

// worst sums the conditions up. That nobody serves, or one alone, is worse than each condition that says why.
func worst(s *control.Status) templates.State {
	count, kind := 0, templates.OK
	for _, c := range s.Conditions {
		switch {
		case c.Severity == ha.Critical && kind != templates.Critical:
			kind, count = templates.Critical, 1
		case c.Severity == ha.Warning && kind == templates.OK:
			kind, count = templates.Warning, 1
		case severityKind(c.Severity) == kind:
			count++
		}
	}
	peerRuns := s.Peer.RunningRole != nil && *s.Peer.RunningRole == string(ha.MasterSide)
	switch waits := s.State == string(ha.Blocked) || s.State == string(ha.Failed); {
	case kind != templates.Critical && waits && !peerRuns:
		return templates.State{Kind: templates.Critical, Word: "nobody serves"}
	case kind == templates.OK:
		return templates.State{Kind: kind, Word: "all well"}
	case kind == templates.Warning && count > 1:
		return templates.State{Kind: kind, Word: fmt.Sprintf("%d warnings", count)}
	}
	return templates.State{Kind: kind, Word: fmt.Sprintf("%d %s", count, kind)}
}
