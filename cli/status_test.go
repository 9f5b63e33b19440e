package cli

import (
	"bytes"
	"encoding/json"
	"errors"
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

// TestStatusWithoutSettings: a node that has none shows no empty role and epoch, and no bare code; check is critical.
func TestStatusWithoutSettings(t *testing.T) {
	reason := string(ha.ReasonNoSettings)
	none := ha.Condition{Code: "settings.none", Severity: ha.Critical, Text: "No settings are in force."}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(control.Status{Node: "a", State: "starting", StateReason: &reason, Conditions: []control.Condition{{Condition: none}}})
	})
	d := nodeA(t, mux)
	out, err := execute(t.Context(), d, "status")
	if err != nil || !strings.HasPrefix(out, "a  starting, without settings\n") || !strings.Contains(out, "Why: No settings are in force on this node: ") {
		t.Errorf("status: %v\n%s", err, out)
	}
	out, err = execute(t.Context(), d, "check")
	var code *exitCode
	if !errors.As(err, &code) || code.code != 2 || out != "EVENKEEL CRITICAL - No settings are in force.\n" {
		t.Errorf("check: %v\n%s", err, out)
	}
}
