package ha

import (
	"encoding/json"
	"hash/crc32"
	"time"
)

// holdBeyondPromise is how much longer than the promise a hold may last (30-decisions, "Permissions").
const holdBeyondPromise = 7 * time.Second

// Effective picks node's own values out of the settings. Version is the caller's to fill; Stricter adds the peer's values.
func (s Settings) Effective(node NodeID) Effective {
	e := Effective{
		Configured: SlaveSide,
		Active:     s.General.Active,
		Interval:   s.Heartbeat.Interval,
		DeadTime:   s.Heartbeat.DeadTime,
		BootWait:   s.Heartbeat.BootWait,
		Mode:       s.General.Mode,
		Armed:      true,
		Revision:   s.Revision,
		Digest:     s.Digest(),
	}
	if node == s.General.MasterNode {
		e.Configured = MasterSide
	}
	if e.Mode == "" {
		e.Mode = Evidence
	}
	e.OwnDeadTime, e.OwnMode = e.DeadTime, e.Mode
	e.Hold = e.Promise() + holdBeyondPromise
	return e
}

// Stricter returns e with the larger dead time and the stricter mode of both nodes; b is the peer's newest fresh beat or nil. Both nodes
// compute it so, so both count with the same values while a change is on its way (safety.md 19).
func (e Effective) Stricter(b *Beat) Effective {
	if b == nil {
		return e
	}
	if b.DeadTime > e.DeadTime {
		before := e.Promise()
		e.DeadTime = b.DeadTime
		e.Hold += e.Promise() - before
	}
	if b.Mode == Evidence {
		e.Mode = Evidence
	}
	e.SettingsDiffer = b.Revision != e.Revision || b.Digest != e.Digest
	return e
}

// Digest is the CRC-32C of the settings' canonical JSON without revision, time and author: equal content, equal digest.
func (s Settings) Digest() uint32 {
	s.Revision, s.SavedAt, s.SavedBy = 0, time.Time{}, ""
	if s.Addresses == nil {
		s.Addresses = []VirtualAddress{}
	}
	if s.Services == nil {
		s.Services = []ServiceSetting{}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return 0 // cannot happen: the struct holds only plain values
	}
	return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
}
