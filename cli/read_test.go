package cli

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"evenkeel/ha"
)

// TestReadSettingsWhole: what export prints is read again, also with empty lists; a list or section that is not named is not taken for an empty one.
func TestReadSettingsWhole(t *testing.T) {
	read := func(v any) error {
		t.Helper()
		_, err := readSettings(write(t, v))
		return err
	}
	exported := func(s ha.Settings) (tree map[string]any) {
		writeEmptyLists(reflect.ValueOf(&s).Elem())
		b, _ := json.Marshal(s)
		_ = json.Unmarshal(b, &tree)
		return tree
	}
	if err := read(exported(ha.Settings{})); err != nil {
		t.Errorf("empty settings: %v", err)
	}
	whole := func() map[string]any { return exported(ha.Settings{Addresses: []ha.VirtualAddress{{}}}) }
	for _, part := range []string{"general", "addresses", "services"} {
		tree := whole()
		tree[part] = nil
		if err := read(tree); err == nil || !strings.Contains(err.Error(), part+": null is no") {
			t.Errorf("null for %s: %v", part, err)
		}
	}
	tree := whole()
	tree["addresses"].([]any)[0].(map[string]any)["aliases"] = nil
	if err := read(tree); err == nil || !strings.Contains(err.Error(), "addresses[0].aliases: null is no list: enter []") {
		t.Errorf("null for the aliases of an address: %v", err)
	}
	for _, part := range []string{"general", "heartbeat", "replication", "addresses", "services"} {
		tree := whole()
		delete(tree, part)
		if err := read(tree); err == nil || !strings.Contains(err.Error(), part+": is missing") {
			t.Errorf("without %s: %v", part, err)
		}
	}
	tree = whole()
	delete(tree["addresses"].([]any)[0].(map[string]any), "aliases")
	if err := read(tree); err == nil || !strings.Contains(err.Error(), "addresses[0].aliases: is missing") {
		t.Errorf("without aliases: %v", err)
	}
	tree = whole()
	delete(tree, "saved_at")
	delete(tree["general"].(map[string]any), "active")
	if err := read(tree); err != nil {
		t.Errorf("a value may be left out: %v", err)
	}
}
