package engine

import (
	"context"
	"fmt"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// askRevisionFor bounds the question for one stored revision. Only the news waits for the answer: the settings are in force by then.
const askRevisionFor = 2 * time.Second

// noteOverridden tells whoever saved here that the other node's settings are in force instead: both had been told "saved".
func (e *engine) noteOverridden(ctx context.Context, mine, theirs ha.Settings) {
	if mine.Revision == 0 || !e.savedApart(ctx, mine, theirs) {
		return
	}
	e.post(func() {
		e.note(control.Event{Log: "failover", Code: "settings.overridden", Severity: ha.Warning, Text: overriddenText(mine, theirs)})
	})
}

// savedApart says whether theirs was saved without knowing mine. The same number twice shows it; of a higher number only the other node's
// history can. What that does not tell (an older version, a history that was lost) is taken for the ordinary case, which is no news.
func (e *engine) savedApart(ctx context.Context, mine, theirs ha.Settings) bool {
	if mine.Revision == theirs.Revision {
		return true
	}
	if e.peer.client == nil || mine.Digest() == theirs.Digest() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askRevisionFor)
	defer cancel()
	var known ha.Settings
	if err := e.peer.client.Get(ctx, fmt.Sprintf("/v1/settings?revision=%d", mine.Revision), &known); err != nil {
		e.log.Debug("the other node does not show its revision", "revision", mine.Revision, "error", err)
		return false
	}
	return known.Revision == mine.Revision && known.Digest() != mine.Digest()
}

// overriddenText says whose save lost against whose, and the way back.
func overriddenText(mine, theirs ha.Settings) string {
	back := fmt.Sprintf("evenkeel config revert %d", mine.Revision)
	if mine.Revision == theirs.Revision {
		back += " --overridden"
	}
	return fmt.Sprintf("Revision %d, saved on this node by %s at %s, was overridden: both nodes saved apart from each other, and revision %d of the other node, by %s at %s, is in force. "+
		"The overridden one is in this node's history: compare both, and `%s` here puts it in force again.",
		mine.Revision, mine.SavedBy, clock(mine.SavedAt), theirs.Revision, theirs.SavedBy, clock(theirs.SavedAt), back)
}

// clock writes a time as precisely as two saves in the same second need it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }
