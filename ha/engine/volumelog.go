package engine

import (
	"strings"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// wentBack is the volume's code for a disk that is an older copy of itself (replication/control, ProblemCode).
const wentBack = "disk_went_back"

// connected says whether writes of the primary reach the other copy, be it beside a resync.
func (s VolumeState) connected() bool {
	switch s.Fact.Connection {
	case "Connected", "SyncSource", "SyncTarget":
		return true
	}
	return false
}

// volumeEvents are what the heartbeat and replication log tells of a volume that was old and is s now (A45). An engine that finds a volume
// connected tells only what is wrong with it.
func volumeEvents(name string, old, s VolumeState) (list []control.Event) {
	tell := func(code string, severity ha.Severity, text string) {
		list = append(list, control.Event{Log: "heartbeat", Code: code, Severity: severity, Text: "Volume " + name + " " + text})
	}
	found := old.PID == 0 // by this engine just now
	same := old.PID == s.PID && old.Fact.Session == s.Fact.Session
	switch {
	case !found && s.connected() && !(same && old.connected()):
		tell("replication.connected", ha.Info, "is connected to its other copy"+direction(s)+": "+reasonOf(s.Verdict)+".")
	case !found && s.Fact.Connection == "Connected" && old.Fact.Connection != "Connected":
		tell("replication.in_sync", ha.Info, "is in sync: the resync has finished.")
	case !found && old.connected() && !s.connected():
		tell("replication.disconnected", ha.Warning, "lost the connection to its other copy.")
	}
	if !found && s.Fact.Disk != old.Fact.Disk {
		tell("volume.disk", ha.Info, "is "+string(s.Fact.Disk)+" on this node; it was "+string(old.Fact.Disk)+".")
	}
	if s.Problem != "" && s.Problem != old.Problem {
		severity := ha.Warning
		if s.Fact.SplitBrain || s.ProblemCode == wentBack {
			severity = ha.Critical
		}
		tell("volume.problem", severity, "has a problem: "+s.Problem+".")
	}
	return list
}

// direction says where a resync goes.
func direction(s VolumeState) string {
	switch s.Fact.Connection {
	case "SyncSource":
		return ", which gets what it misses from this node"
	case "SyncTarget":
		return " and gets from it what it misses"
	}
	return ""
}

// reasonOf is the sentence of a verdict "rule: sentence".
func reasonOf(verdict string) string {
	if _, why, ok := strings.Cut(verdict, ": "); ok {
		return why
	}
	return verdict
}

// volumeProblems are the conditions that a volume's own words make.
func (e *engine) volumeProblems() (list []ha.Condition) {
	for _, name := range e.volumeNames() {
		s := e.volumes[name].last()
		switch {
		case !s.Fact.Running:
		case s.ProblemCode == wentBack:
			list = append(list, ha.Condition{Code: "volume.went_back", Severity: ha.Critical, Side: "local", Key: name,
				Text:   "Volume " + name + " is on a disk that went back in time: nothing on it is trusted, it is compared in full with the other copy.",
				Remedy: "Wait for the sync, and find out who put an older image of the disk back."})
		case s.ProblemCode == problemBacking:
			list = append(list, ha.Condition{Code: "volume.backing", Severity: ha.Warning, Side: "local", Key: name,
				Text:   ha.Sentence("Volume " + name + ": " + strings.TrimPrefix(s.Problem, "volume "+name+": ")),
				Remedy: "Correct the backing device on Disk Replication, or mark the new disk as this volume's (volume create); a switch-over lets a master use it."})
		}
	}
	return list
}
