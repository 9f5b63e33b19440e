package engine

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/ha/peer"
)

// otherEngine is the peer's engine as far as its settings go: the first is in force, all are in its history.
func (b *bench) otherEngine(history ...ha.Settings) {
	b.t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/settings", func(w http.ResponseWriter, r *http.Request) {
		for i, s := range history {
			if asked := r.URL.Query().Get("revision"); asked == "" && i == 0 || asked == string('0'+rune(s.Revision)) {
				_ = json.NewEncoder(w).Encode(s)
				return
			}
		}
		(&control.Error{Exit: control.ExitFailed, Code: "failed", Text: "no such settings are stored"}).Write(w)
	})
	server := httptest.NewTLSServer(mux)
	b.t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	b.options.PeerClient = &tls.Config{RootCAs: roots, ServerName: "example.com"}
	b.options.Config.PeerAddress = []string{server.Listener.Addr().String()}
	b.heart.peer = func(at ha.Instant, said ha.Saying) *ha.Beat {
		beat := peerSlave(at, said)
		beat.Revision, beat.Digest = history[0].Revision, history[0].Digest()
		return beat
	}
}

func savedBy(by string, revision uint64, baud int) ha.Settings {
	s := testSettings(false)
	s.Revision, s.SavedBy, s.Heartbeat.Baud = revision, by, baud
	return s
}

// A save that lost against the other node's is told on the node where it was made, with both names and the way back.
func TestOverriddenSaveIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		theirs []ha.Settings
		back   string
	}{
		"the same number":       {[]ha.Settings{savedBy("ben", 2, 19200)}, "config revert 2 --overridden"},
		"they saved more often": {[]ha.Settings{savedBy("ben", 3, 19200), savedBy("ben", 2, 38400)}, "config revert 2`"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, false)
			b.settings.all = append(b.settings.all, savedBy("ann", 2, 9600))
			b.otherEngine(c.theirs...)
			b.start()
			b.await("told", func(control.Status) bool { return b.events.has("settings.overridden") })
			text := b.events.text("settings.overridden")
			if !strings.Contains(text, "by ann") || !strings.Contains(text, "by ben") || !strings.Contains(text, c.back) {
				t.Errorf("who overrode whom, and how to get back by %q, is not in: %s", c.back, text)
			}
		})
	}
}

// A revision that the other node built upon was not overridden; nor is one called so of which nobody knows.
func TestSavedApart(t *testing.T) {
	mine := savedBy("ann", 2, 9600)
	for name, c := range map[string]struct {
		theirs []ha.Settings
		apart  bool
	}{
		"the same number":             {[]ha.Settings{savedBy("ben", 2, 19200)}, true},
		"they saved more often":       {[]ha.Settings{savedBy("ben", 3, 19200), savedBy("ben", 2, 38400)}, true},
		"built upon":                  {[]ha.Settings{savedBy("ben", 3, 19200), mine}, false},
		"saved the same":              {[]ha.Settings{savedBy("ben", 3, 9600), savedBy("ben", 2, 38400)}, false},
		"the other's history is lost": {[]ha.Settings{savedBy("ben", 3, 19200)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, false)
			b.otherEngine(c.theirs...)
			e := &engine{log: b.options.Log, peer: peerState{client: peer.NewClient(b.options.Config.PeerAddress, b.options.PeerClient)}}
			if apart := e.savedApart(t.Context(), mine, c.theirs[0]); apart != c.apart {
				t.Errorf("saved apart: %v, want %v", apart, c.apart)
			}
		})
	}
}

// The other node's engine may ask for a stored revision; without a number it gets the settings in force.
func TestGetSettingsByRevision(t *testing.T) {
	b := newBench(t, false)
	b.settings.all = append(b.settings.all, savedBy("ann", 2, 9600))
	e := &engine{o: b.options}
	e.view.Store(&view{settings: b.settings.all[1]})
	for query, want := range map[string]uint64{"": 2, "?revision=1": 1, "?revision=2": 2, "?revision=9": 0} {
		answer := httptest.NewRecorder()
		e.getSettings(answer, httptest.NewRequest(http.MethodGet, "/v1/settings"+query, nil))
		var s ha.Settings
		_ = json.Unmarshal(answer.Body.Bytes(), &s)
		if s.Revision != want || (answer.Code == http.StatusOK) != (want != 0) {
			t.Errorf("%q: status %d, revision %d, want %d", query, answer.Code, s.Revision, want)
		}
	}
}
