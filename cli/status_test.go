package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

func TestStatusOfWhatWasNeverHeard(t *testing.T) {
	var out bytes.Buffer
	ms := int64(1250)
	s := control.Status{Links: []control.Link{{Name: "lan"}, {Name: "wan", LastHeardMS: &ms}}}
	if err := printStatus(&out, s); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Count(text, "never heard") != 2 || strings.Contains(text, "never ago") || !strings.Contains(text, "heard 1.2 s ago") {
		t.Errorf("the status says:\n%s", text)
	}
}

// TestCheckEndsSentences: the line for monitoring joins texts; each ends with one mark, whoever wrote it.
func TestCheckEndsSentences(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		var s control.Status
		for _, text := range []string{"Line /dev/ttyS0 is used by another process: end that", "The pair is disarmed."} {
			s.Conditions = append(s.Conditions, control.Condition{Condition: ha.Condition{Severity: ha.Warning, Text: text}})
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	out, err := execute(t.Context(), nodeA(t, mux), "check")
	if want := "EVENKEEL WARNING - Line /dev/ttyS0 is used by another process: end that. The pair is disarmed.\n"; out != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}
