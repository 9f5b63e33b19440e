package ha

import "testing"

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a line is used by another process": "a line is used by another process.", "It is full.": "It is full.", "It is full..": "It is full.",
		"cut off...": "cut off...", "Go on?": "Go on?", "two lines\n": "two lines.",
	} {
		if got := Sentence(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// Field errors are put into sentences: they end without a mark of their own.
func TestFieldErrorsInASentence(t *testing.T) {
	e := FieldErrors{{Field: "general.mode", Text: "It is none: enter evidence."}, {Field: "heartbeat.baud", Text: "It is none."}}
	if got, want := e.Error(), "general.mode: It is none: enter evidence; heartbeat.baud: It is none"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
