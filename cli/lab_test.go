package cli

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"evenkeel/ha"
)

// noStore is a settings database without content that counts how often it was opened.
type noStore struct {
	Store
	opened int
}

func (s *noStore) Latest(context.Context) (ha.Settings, error) { return ha.Settings{}, nil }
func (s *noStore) Close() error                                { return nil }

// TestLabIsNotThisMachine: on a real node a, --lab with --node a does not reach this machine's settings, users and disks; EVENKEEL_LAB alone means
// no lab there.
func TestLabIsNotThisMachine(t *testing.T) {
	d, s := nodeA(t, http.NewServeMux()), &noStore{}
	d.Store = func(string) (Store, error) { s.opened++; return s, nil }
	touched := func() (string, error) { t.Error("a disk of this machine was opened"); return "", nil }
	d.CreateVolume = func(CreateVolume) (string, error) { return touched() }
	d.InspectVolume = func(string) (string, error) { return touched() }
	for _, words := range []string{
		"config export", "config history", "config import /nowhere", "config revert 1", "user list", "user add eve", "user passwd admin",
		"volume create x --backing /nowhere", "volume inspect /nowhere",
	} {
		_, err := execute(t.Context(), d, append([]string{"--lab", "/tmp/l", "--node", "a"}, strings.Fields(words)...)...)
		if usage := (usageError{}); !errors.As(err, &usage) || !strings.Contains(err.Error(), "evenkeel lab --dir /tmp/l exec a -- evenkeel ") {
			t.Errorf("%s: %v", words, err)
		}
	}
	if s.opened > 0 {
		t.Error("the settings of this machine were opened")
	}
	t.Setenv("EVENKEEL_LAB", "/tmp/l")
	if _, err := execute(t.Context(), d, "--node", "a", "config", "export"); err != nil || s.opened != 1 {
		t.Errorf("EVENKEEL_LAB keeps this node from its own settings: %v", err)
	}
}
