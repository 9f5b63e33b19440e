package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"evenkeel/ha"
)

// settingsLimit bounds a file of settings, in bytes.
const settingsLimit = 1 << 20

// readSettings reads settings from a file, or from standard input for "-". What is wrong is said field by field (ha.FieldErrors).
func readSettings(path string) (s ha.Settings, err error) {
	in, name := io.Reader(os.Stdin), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return s, fmt.Errorf("cannot read the settings: %w", err)
		}
		defer f.Close()
		in, name = f, path
	}
	data, err := io.ReadAll(io.LimitReader(in, settingsLimit+1))
	if err != nil {
		return s, fmt.Errorf("cannot read the settings from %s: %w", name, err)
	}
	if len(data) > settingsLimit {
		return s, fmt.Errorf("%s has more than %d bytes: it is no export of settings", name, settingsLimit)
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return s, fmt.Errorf("%s is not one JSON object (%w): begin with what `evenkeel config export` prints", name, err)
	}
	if whole == nil { // JSON's null is read without an error
		return s, fmt.Errorf("%s holds null and no settings: begin with what `evenkeel config export` prints", name)
	}
	if wrong := fill("", data, reflect.ValueOf(&s).Elem()); len(wrong) > 0 {
		return s, wrong
	}
	return s, nil
}

// fill reads raw into v and names every field that is unknown or of the wrong kind; encoding/json would stop at the first, and names none that
// reads itself (addresses).
func fill(path string, raw json.RawMessage, v reflect.Value) (wrong ha.FieldErrors) {
	_, readsItself := v.Addr().Interface().(json.Unmarshaler)
	_, readsText := v.Addr().Interface().(interface{ UnmarshalText([]byte) error })
	null := string(raw) == "null"
	switch {
	case null && v.Kind() == reflect.Slice: // it must not take volumes or addresses away
		return ha.FieldErrors{{Field: path, Text: "null is no list: enter [] for an empty one."}}
	case null && v.Kind() == reflect.Struct && !readsItself && !readsText:
		return ha.FieldErrors{{Field: path, Text: "null is no object: begin with what evenkeel config export prints."}}
	case null || readsItself || readsText:
	case v.Kind() == reflect.Struct:
		return fillStruct(path, raw, v)
	case v.Kind() == reflect.Slice:
		return fillList(path, raw, v)
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		return ha.FieldErrors{{Field: path, Text: fmt.Sprintf("%.64s is not %s.", raw, kindWords(v))}}
	}
	return nil
}

func fillStruct(path string, raw json.RawMessage, v reflect.Value) (wrong ha.FieldErrors) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return ha.FieldErrors{{Field: path, Text: fmt.Sprintf("%.64s is not an object.", raw)}}
	}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if part, given := parts[name]; given {
			wrong = append(wrong, fill(strings.TrimPrefix(path+"."+name, "."), part, v.Field(i))...)
			delete(parts, name)
		} else if kind := v.Field(i).Kind(); kind == reflect.Slice || path == "" && kind == reflect.Struct && v.Type().Field(i).Type != reflect.TypeFor[time.Time]() {
			// a part of a file must not take volumes or addresses away by not naming them
			wrong = append(wrong, ha.FieldError{Field: strings.TrimPrefix(path+"."+name, "."), Text: "is missing: begin with what evenkeel config export prints."})
		}
	}
	for name := range parts {
		wrong = append(wrong, ha.FieldError{Field: strings.TrimPrefix(path+"."+name, "."), Text: "there is no such setting."})
	}
	slices.SortStableFunc(wrong, func(a, b ha.FieldError) int { return strings.Compare(a.Field, b.Field) })
	return wrong
}

func fillList(path string, raw json.RawMessage, v reflect.Value) (wrong ha.FieldErrors) {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return ha.FieldErrors{{Field: path, Text: fmt.Sprintf("%.64s is not a list.", raw)}}
	}
	v.Set(reflect.MakeSlice(v.Type(), len(parts), len(parts)))
	for i, part := range parts {
		wrong = append(wrong, fill(fmt.Sprintf("%s[%d]", path, i), part, v.Index(i))...)
	}
	return wrong
}

// writeEmptyLists makes every list that is absent an empty one: an export names each, so that it can be imported.
func writeEmptyLists(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				writeEmptyLists(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			writeEmptyLists(v.Index(i))
		}
	}
}

// kindWords say what a field takes.
func kindWords(v reflect.Value) string {
	switch v.Type().String() {
	case "netip.Addr":
		return "an IP address such as 10.88.1.1"
	case "netip.Prefix":
		return "an IP address with its prefix such as 10.88.1.100/24"
	case "time.Duration":
		return fmt.Sprintf("a number of nanoseconds such as %d (%v)", 200*time.Millisecond, 200*time.Millisecond)
	case "time.Time":
		return "a time such as 2026-11-21T20:00:00Z"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text in quotes"
	}
	return "a whole number in range"
}

// oneLine joins what is wrong with several fields.
func oneLine(err error) error {
	var fields ha.FieldErrors
	if !errors.As(err, &fields) {
		return err
	}
	parts := make([]string, 0, len(fields))
	for _, f := range fields {
		parts = append(parts, f.Field+": "+strings.TrimSuffix(f.Text, "."))
	}
	return fmt.Errorf("the settings are not saved: %s", strings.Join(parts, "; "))
}
