package control

import (
	"encoding/json"
	"strings"
	"time"
)

// This file keeps the contract's word that what is not known is null, never 0 and never "": while an engine starts, a volume has no disk, a
// process is gone. Readers in Go get the zero value back.

// known is nil for the zero value.
func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// MarshalJSON writes null for a role that no settings gave yet, and for a state that no decision was made about yet.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	var since *time.Time
	if !s.StateSince.IsZero() {
		since = &s.StateSince
	}
	return json.Marshal(struct {
		plain
		ConfiguredRole *string    `json:"configured_role"`
		StateSince     *time.Time `json:"state_since"`
	}{plain(s), known(s.ConfiguredRole), since})
}

// MarshalJSON writes null for what only a disk with metadata can tell.
func (v Volume) MarshalJSON() ([]byte, error) {
	type plain Volume
	outOfSync, generation := &v.OutOfSyncBytes, known(strings.Trim(v.Generation, "0"))
	if v.Disk == "Diskless" {
		outOfSync = nil
	}
	if generation != nil {
		generation = &v.Generation
	}
	return json.Marshal(struct {
		plain
		OutOfSyncBytes *uint64 `json:"out_of_sync_bytes"`
		Generation     *string `json:"generation"`
		Size           *uint64 `json:"size"`
	}{plain(v), outOfSync, generation, known(v.Size)})
}

// MarshalJSON writes null while no settings are in force.
func (h HeartbeatState) MarshalJSON() ([]byte, error) {
	type plain HeartbeatState
	return json.Marshal(struct {
		plain
		Profile    *string `json:"profile"`
		IntervalMS *int64  `json:"interval_ms"`
		DeadTimeMS *int64  `json:"dead_time_ms"`
		PromiseMS  *int64  `json:"promise_ms"`
	}{plain(h), known(h.Profile), known(h.IntervalMS), known(h.DeadTimeMS), known(h.PromiseMS)})
}

// MarshalJSON writes null while no settings are in force.
func (s SettingsState) MarshalJSON() ([]byte, error) {
	type plain SettingsState
	return json.Marshal(struct {
		plain
		Revision *uint64 `json:"revision"`
		Digest   *string `json:"digest"`
	}{plain(s), known(s.Revision), known(s.Digest)})
}

// MarshalJSON writes null for a process that does not run.
func (p Process) MarshalJSON() ([]byte, error) {
	type plain Process
	return json.Marshal(struct {
		plain
		PID      *int    `json:"pid"`
		RSSBytes *uint64 `json:"rss_bytes"`
	}{plain(p), known(p.PID), known(p.RSSBytes)})
}
