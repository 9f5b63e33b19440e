package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// memoryStore is a settings database. Of a revision that is there twice the first one lost.
type memoryStore struct{ all []ha.Settings }

func (m *memoryStore) lost(i int) bool {
	return i+1 < len(m.all) && m.all[i+1].Revision == m.all[i].Revision
}

func (m *memoryStore) Latest(context.Context) (ha.Settings, error) { return m.all[len(m.all)-1], nil }

func (m *memoryStore) Unset(error) bool { return false }

func (m *memoryStore) find(revision uint64, lost bool) (found ha.Settings, err error) {
	for i, s := range m.all {
		if s.Revision == revision && m.lost(i) == lost {
			found = s
		}
	}
	return found, nil
}

func (m *memoryStore) Load(_ context.Context, revision uint64) (ha.Settings, error) {
	return m.find(revision, false)
}

func (m *memoryStore) Overridden(_ context.Context, revision uint64) (ha.Settings, error) {
	return m.find(revision, true)
}

func (m *memoryStore) Save(_ context.Context, s ha.Settings, base uint64, by string) (uint64, error) {
	s.Revision, s.SavedBy = base+1, by
	m.all = append(m.all, s)
	return s.Revision, nil
}

func (m *memoryStore) Revisions(context.Context) (list []Revision, err error) {
	for i, s := range m.all {
		list = append(list, Revision{Number: s.Revision, At: s.SavedAt, By: s.SavedBy, Overridden: m.lost(i)})
	}
	return list, nil
}

func (m *memoryStore) AddUser(context.Context, string, string) error     { return nil }
func (m *memoryStore) SetPassword(context.Context, string, string) error { return nil }
func (m *memoryStore) Users(context.Context) ([]User, error)             { return nil, nil }
func (m *memoryStore) Close() error                                      { return nil }

// onNodeA are the dependencies on node a with these revisions stored; its engine takes every revision.
func onNodeA(t *testing.T, all ...ha.Settings) (Deps, *memoryStore) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/settings", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(control.Outcome{Done: true})
	})
	d, s := nodeA(t, mux), &memoryStore{all}
	d.Store = func(string) (Store, error) { return s, nil }
	return d, s
}

func revisionOf(n uint64, by string) ha.Settings {
	return ha.Settings{Revision: n, SavedBy: by, SavedAt: time.Unix(int64(n), 0), General: ha.General{MasterNode: "a", SlaveNode: "b"}}
}

// write puts settings into a file, as `config export` prints them.
func write(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOverriddenRevision: the history marks what lost against the other node's save of the same number, and it can be saved again.
func TestOverriddenRevision(t *testing.T) {
	d, s := onNodeA(t, revisionOf(1, "ann"), revisionOf(2, "ann"), revisionOf(2, "ben"))
	out, err := execute(t.Context(), d, "config", "history")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != 4 || !strings.Contains(lines[1], "ann  overridden by the other node's") || strings.Contains(lines[2], "overridden") {
		t.Errorf("history: %v\n%s", err, out)
	}
	if _, err := execute(t.Context(), d, "config", "revert", "1", "--overridden"); err == nil || !strings.Contains(err.Error(), "no overridden revision 1") {
		t.Errorf("revision 1 was never overridden: %v", err)
	}
	for _, step := range []struct {
		args []string
		want string
	}{{[]string{"config", "revert", "2"}, "ben"}, {[]string{"config", "revert", "2", "--overridden"}, "ann"}} {
		s.all[1].General.References = []ha.Reference{{Name: "ann"}}
		s.all[2].General.References = []ha.Reference{{Name: "ben"}}
		if _, err := execute(t.Context(), d, step.args...); err != nil {
			t.Fatal(err)
		}
		if newest, _ := s.Latest(t.Context()); newest.General.References[0].Name != step.want {
			t.Errorf("%v saved %s's revision again, want %s's", step.args, newest.General.References[0].Name, step.want)
		}
	}
}

// TestImportOfAnotherPair: a file with a node id that neither node has would make this node deaf to the other one. The two ids may change places.
func TestImportOfAnotherPair(t *testing.T) {
	for name, c := range map[string]struct {
		master, slave ha.NodeID
		flags         []string
		refused       string
	}{
		"the same pair":     {"a", "b", nil, ""},
		"the other way":     {"b", "a", nil, ""},
		"a foreign master":  {"x", "b", nil, `general.master_node: "x" is the id of neither node: this one is a and the other one is b; enter one of these, or add --new-node`},
		"a foreign slave":   {"a", "x", nil, `general.slave_node: "x" is the id of neither node`},
		"a node's new id":   {"a", "x", []string{"--new-node"}, ""},
		"nobody's settings": {"x", "y", nil, "general.slave_node"},
	} {
		t.Run(name, func(t *testing.T) {
			d, s := onNodeA(t, revisionOf(1, "ann"))
			wish := revisionOf(0, "")
			wish.General.MasterNode, wish.General.SlaveNode = c.master, c.slave
			writeEmptyLists(reflect.ValueOf(&wish).Elem())
			_, err := execute(t.Context(), d, append([]string{"config", "import", write(t, wish)}, c.flags...)...)
			switch {
			case c.refused == "" && (err != nil || len(s.all) != 2):
				t.Errorf("not saved: %v", err)
			case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused) || len(s.all) != 1):
				t.Errorf("%d revisions, %v", len(s.all), err)
			}
		})
	}
}

// TestImportNull: JSON's null is no object, though encoding/json takes it for one.
func TestImportNull(t *testing.T) {
	d, s := onNodeA(t, revisionOf(1, "ann"))
	_, err := execute(t.Context(), d, "config", "import", write(t, nil))
	if err == nil || !strings.Contains(err.Error(), "holds null and no settings") || len(s.all) != 1 {
		t.Errorf("null: %v", err)
	}
}
