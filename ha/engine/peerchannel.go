package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
	"evenkeel/ha/peer"
)

// relayedBy marks an order that the peer's engine passed on, so that it is not passed back.
const relayedBy = "the other node"

// fetchPause is how long settings that could not be taken are not asked for again.
const fetchPause = 15 * time.Second

// peerState is the channel to the other engine and what was seen over it.
type peerState struct {
	client   *peer.Client // nil = no channel
	askAgain ha.Instant   // its settings are not asked for before this
	fetching bool
}

// servePeer serves the peer's engine: status, events, settings, snapshots and the resolve of a split-brain, nothing else.
func (e *engine) servePeer() {
	if e.o.PeerClient != nil {
		e.peer.client = peer.NewClient(e.o.Config.PeerAddress, e.o.PeerClient)
	}
	if e.o.PeerServer == nil || len(e.o.Config.PeerListen) == 0 {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", e.getOwnStatus)
	mux.HandleFunc("GET /v1/events", e.getOwnEvents)
	mux.HandleFunc("GET /v1/settings", e.getSettings)
	mux.HandleFunc("POST /v1/settings", e.postPeerSettings)
	mux.HandleFunc("GET /v1/snapshots", e.getSnapshots)
	mux.HandleFunc("POST /v1/volumes/{name}/resolve", e.postRelayedResolve)
	e.goRun("peer", func(ctx context.Context) {
		peer.Serve(ctx, peer.Options{Listen: e.o.Config.PeerListen, TLS: e.o.PeerServer, Handler: mux, Log: e.log})
	})
}

// peerAPI is the peer's engine as a client of the common API; nil if there is no channel.
func (e *engine) peerAPI() *control.Client {
	if e.peer.client == nil {
		return nil
	}
	return control.NewClientOver("the other node", peer.Base, e.peer.client.Transport())
}

var errNoPeer = &control.Error{Exit: control.ExitFailed, Code: "no_peer", Text: "The other node's engine does not answer: ask on that node itself."}

// hearPeer looks at each new beat for settings that this node does not have yet.
func (e *engine) hearPeer(b *ha.Beat) {
	differs := b.Revision == e.settings.Revision && b.Digest != 0 && b.Digest != e.taken.digest // saved on both while apart
	if b.Revision <= e.settings.Revision && !differs || e.peer.client == nil || e.peer.fetching || now() < e.peer.askAgain {
		return
	}
	e.peer.fetching = true
	e.goRun("fetch settings", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := e.fetchSettings(ctx)
		e.post(func() {
			e.peer.fetching, e.peer.askAgain = false, now().Add(2*time.Second)
			if err != nil || differs {
				e.peer.askAgain = now().Add(fetchPause)
			}
		})
		if err != nil {
			e.log.Warn("the other node's settings not fetched", "error", err)
		}
	})
}

// fetchSettings pulls the peer's newest revision.
func (e *engine) fetchSettings(ctx context.Context) error {
	var s ha.Settings
	if err := e.peer.client.Get(ctx, "/v1/settings", &s); err != nil {
		return err
	}
	return e.importSettings(ctx, s)
}

// sendSettings pushes a revision to the peer; if it is away it will pull it later.
func (e *engine) sendSettings(s ha.Settings) {
	if e.peer.client == nil {
		return
	}
	e.goRun("send settings", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := e.peer.client.Post(ctx, "/v1/settings", s, nil); err != nil {
			e.log.Info("settings not sent, the other node will fetch them", "revision", s.Revision, "error", err)
		}
	})
}

// getSettings answers with the settings in force, or with the stored revision that the query names.
func (e *engine) getSettings(w http.ResponseWriter, r *http.Request) {
	v := e.view.Load()
	revision, err := strconv.ParseUint(r.URL.Query().Get("revision"), 10, 63)
	switch {
	case v == nil:
		errStarting.Write(w)
	case err != nil:
		answerJSON(w, v.settings)
	default:
		ctx, cancel := context.WithTimeout(r.Context(), askRevisionFor)
		defer cancel()
		s, err := e.o.Settings.Load(ctx, revision)
		if err != nil {
			writeError(w, err)
			return
		}
		answerJSON(w, s)
	}
}

// settingsLimit bounds the settings that a peer may send, in bytes.
const settingsLimit = 1 << 20

func (e *engine) postPeerSettings(w http.ResponseWriter, r *http.Request) {
	var s ha.Settings
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, settingsLimit)).Decode(&s); err != nil {
		(&control.Error{Exit: control.ExitUsage, Code: "malformed", Text: fmt.Sprintf("The settings are not readable: %v.", err)}).Write(w)
		return
	}
	if err := e.importSettings(r.Context(), s); err != nil {
		writeError(w, err)
		return
	}
	answerJSON(w, control.Outcome{Done: true, Code: "done", Text: "The settings are in force."})
}

func (e *engine) postRelayedResolve(w http.ResponseWriter, r *http.Request) {
	var o control.VolumeOrder
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, settingsLimit)).Decode(&o); err != nil {
		(&control.Error{Exit: control.ExitUsage, Code: "malformed", Text: "The order is not readable."}).Write(w)
		return
	}
	if e.view.Load() == nil {
		errStarting.Write(w)
		return
	}
	o.By = relayedBy
	out, err := e.volumeVerb(r.Context(), r.PathValue("name"), "resolve", o)
	answer(w, out, err)
}

// relayResolve tells the peer's engine the same, so that both sides hear whose history goes. A peer that is away is no hindrance: its side is
// told when a person asks there, and until then nothing moves.
func (e *engine) relayResolve(ctx context.Context, name string, o control.VolumeOrder) error {
	api := e.peerAPI()
	if o.By == relayedBy || api == nil {
		return nil
	}
	_, err := api.Volume(ctx, name, "resolve", o)
	var refused *control.Error
	if errors.As(err, &refused) && refused.Exit == control.ExitRefused {
		return refused
	}
	if err != nil {
		e.log.Warn("resolve not passed on to the other node", "error", err)
	}
	return nil
}
