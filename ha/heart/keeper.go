package heart

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"evenkeel/ha"
)

// Files below the run folder, both for root only.
const (
	setupFile  = "heart.json"   // the newest order, written by the server before heart acts on it
	memoryFile = "heart.memory" // what was heard, written by the keeper once a second
)

// memory is what a heart that was restarted must know of the one before.
type memory struct {
	Boot     ha.BootName           `json:"boot"` // our own: of another boot it is void
	StepAt   ha.Instant            `json:"step_at"`
	PeerBoot ha.BootName           `json:"peer_boot"`
	OldBoots []ha.BootName         `json:"old_boots"`
	Links    map[string]linkMemory `json:"links"` // by name
	Ever     bool                  `json:"ever"`
}

// KeptBoot is the boot name of the newest order that a heart of this boot kept below runDir.
func KeptBoot(runDir string) (ha.BootName, bool) {
	var k kept
	p, err := os.ReadFile(filepath.Join(runDir, setupFile))
	if err != nil || json.Unmarshal(p, &k) != nil || k.Setup == nil || k.StepAt > Now() || k.Setup.Boot == (ha.BootName{}) {
		return ha.BootName{}, false
	}
	return k.Setup.Boot, true
}

type linkMemory struct {
	Boot ha.BootName `json:"boot"`
	Seq  uint64      `json:"seq"`
	Ever bool        `json:"ever"`
}

const keepEvery = time.Second

// keeper writes the memory, so that the loop never waits for a file.
type keeper struct {
	path string
	log  *slog.Logger
	next chan memory
	last ha.Instant
	ever bool
	peer ha.BootName
}

func newKeeper(dir string, log *slog.Logger) *keeper {
	return &keeper{path: filepath.Join(dir, memoryFile), log: log, next: make(chan memory, 1)}
}

func (k *keeper) run(ctx context.Context) {
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-k.next:
			err := writeJSON(k.path, m)
			if err != nil && !failing {
				k.log.Warn("heart cannot keep what it heard; after a restart it begins anew", "file", k.path, "why", err)
			}
			failing = err != nil
		}
	}
}

// keep hands the memory to the keeper: once a second, and at once when the peer's boot or "ever heard" changed.
func (l *loop) keep(now ha.Instant) {
	k := l.keeper
	if l.setup == nil || now.Sub(k.last) < keepEvery && k.ever == l.everAny && k.peer == l.ear.boot {
		return
	}
	m := memory{
		Boot: l.setup.Boot, StepAt: l.voice.stepAt, PeerBoot: l.ear.boot, OldBoots: append([]ha.BootName(nil), l.ear.old...),
		Links: map[string]linkMemory{}, Ever: l.everAny,
	}
	for _, w := range l.wires {
		m.Links[w.Name] = linkMemory{Boot: w.heardBoot, Seq: w.heardSeq, Ever: w.ever}
	}
	select {
	case k.next <- m:
		k.last, k.ever, k.peer = now, l.everAny, l.ear.boot
	default: // the disk is slow; the next turn brings newer
	}
}

// recall reads the memory of an earlier process; remember puts it to use once the boot is known to be the same.
func (l *loop) recall(dir string) {
	p, err := os.ReadFile(filepath.Join(dir, memoryFile))
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = json.Unmarshal(p, &l.recalled)
	}
	if err != nil {
		l.log.Warn("what heart heard before is lost; it begins anew", "file", memoryFile, "why", err)
		l.recalled = memory{}
	}
}

func (l *loop) remember(boot ha.BootName) {
	if l.recalled.Boot != boot {
		l.recalled = memory{}
	}
	l.ear.boot, l.ear.old, l.everAny = l.recalled.PeerBoot, l.recalled.OldBoots, l.recalled.Ever
}

func (l *loop) recallWire(w *wire) {
	m := l.recalled.Links[w.Name]
	w.heardBoot, w.heardSeq, w.ever = m.Boot, m.Seq, m.Ever
}

// writeJSON replaces a file whole. It does not sync: these files are to survive a killed process, not a power cut.
func writeJSON(path string, v any) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, p, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
