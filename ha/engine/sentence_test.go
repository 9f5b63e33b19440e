package engine

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// What is refused, noted and shown is whole sentences with one mark at the end, whatever error stands in them.
func TestSentencesEndOnce(t *testing.T) {
	fields := ha.FieldErrors{{Field: "general.mode", Text: "It is none: enter evidence."}}
	inner := &control.Error{Text: "The other node's engine does not answer."}
	for _, err := range []error{invalid(ha.Settings{Revision: 3}, fields), volumeError("data", "connect", errors.New("it is gone."))} {
		answer := httptest.NewRecorder()
		writeError(answer, err)
		if text := answer.Body.String(); strings.Contains(text, "..") || !strings.Contains(text, `."`) {
			t.Errorf("%s", text)
		}
	}
	b := newBench(t, false)
	e := &engine{log: b.options.Log, events: newEventQueue(nil, b.options.Log)}
	e.note(control.Event{Code: "x", Text: "It failed: " + inner.Error() + "."})
	e.plan.Conditions = []ha.Condition{{Code: "x", Text: "It failed: " + inner.Error() + "."}, {Code: "y", Text: "no mark"}}
	e.publish()
	noted, _ := e.events.take()
	for _, text := range []string{noted[0].Text, e.view.Load().conditions[0].Text, e.view.Load().conditions[1].Text} {
		if strings.HasSuffix(text, "..") || !strings.HasSuffix(text, ".") {
			t.Errorf("%q", text)
		}
	}
}
