package cli

import (
	"bytes"
	"strings"
	"testing"

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
