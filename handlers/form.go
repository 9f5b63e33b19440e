package handlers

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"evenkeel/ha"
	"evenkeel/templates"
)

// rowsMost bounds the rows of a list in a form.
const rowsMost = 64

// form is what was entered, and what is wrong with it. Fields bear the names that Validate uses, so that its messages find
// their field. Reading a field never fails: what cannot be read is noted and its zero value returned.
type form struct {
	values url.Values
	errors ha.FieldErrors
}

// ReadForm reads what was posted, once for all pages: a form that cannot be read whole must never pass for an empty one.
func ReadForm(r *http.Request) error {
	if r.Method != http.MethodPost {
		return nil
	}
	err := r.ParseForm()
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &Fail{Status: http.StatusRequestEntityTooLarge, Text: fmt.Sprintf("The form holds more than %d KB, so nothing was done or saved: go back in the browser and shorten what you entered.", large.Limit>>10)}
	case err != nil:
		return &Fail{Status: http.StatusBadRequest, Text: "The form could not be read, so nothing was done or saved: load the page again and enter the values anew."}
	}
	return nil
}

func (f *form) wrong(name, format string, args ...any) {
	f.errors = append(f.errors, ha.FieldError{Field: name, Text: fmt.Sprintf(format, args...)})
}

// merge adds what is wrong with fields that could be read: a field that could not has its own message already.
func (f *form) merge(list ha.FieldErrors) {
	unread := f.errors
	for _, e := range list {
		known := slices.ContainsFunc(unread, func(u ha.FieldError) bool { return e.Field == u.Field || strings.HasPrefix(e.Field, u.Field+"[") })
		if !known {
			f.errors = append(f.errors, e)
		}
	}
}

func (f *form) text(name string) string { return strings.TrimSpace(f.values.Get(name)) }

func (f *form) flag(name string) bool {
	word := f.values.Get(name)
	if word != "" && word != "on" {
		f.wrong(name, "%q is neither on nor off: send on, or leave it out.", clip(word))
	}
	return word == "on"
}

// addr reads an address; an empty field is the zero address, which Validate judges.
func (f *form) addr(name string) netip.Addr {
	s := f.text(name)
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		f.wrong(name, "%q is not an address: enter one such as 10.88.1.1.", clip(s))
	}
	return a
}

// prefix reads an address with its prefix length.
func (f *form) prefix(name, s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		f.wrong(name, "%q is not an address with its prefix length: enter one such as 10.88.1.100/24.", clip(s))
	}
	return p
}

// decimal reads a number that may have decimals, with point or comma; digits only, so that neither a unit nor a notation of
// programmers passes for one. right says what would be right.
func (f *form) decimal(name string, most float64, what, right string) (value float64, ok bool) {
	s := strings.Replace(f.text(name), ",", ".", 1)
	value, err := strconv.ParseFloat(s, 64)
	switch {
	case s == "":
		f.wrong(name, "Nothing is entered: %s.", right)
	case err != nil || strings.Trim(s, "0123456789.") != "":
		f.wrong(name, "%q is not %s: %s.", clip(f.text(name)), what, right)
	case value > most:
		f.wrong(name, "%s is too much: %s.", clip(f.text(name)), right)
	default:
		return value, true
	}
	return 0, false
}

// secondsMost is what a field of seconds can hold; each setting has a lower limit of its own.
const secondsMost = 86400

// seconds reads a time in seconds.
func (f *form) seconds(name string) time.Duration {
	value, ok := f.decimal(name, secondsMost, "a time in seconds", "enter a number such as 3 or 0.6")
	if !ok {
		return 0
	}
	return time.Duration(math.Round(value * float64(time.Second)))
}

// whole reads a whole number up to most.
func (f *form) whole(name string, most int) int {
	n, err := strconv.Atoi(f.text(name))
	switch {
	case f.text(name) == "":
		f.wrong(name, "Nothing is entered: enter a whole number from 0 to %d.", most)
	case err != nil || n < 0 || n > most:
		f.wrong(name, "%q is not a whole number from 0 to %d.", clip(f.text(name)), most)
	default:
		return n
	}
	return 0
}

// clip shortens what was entered for a message; the field keeps all of it.
func clip(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:61], "") + "..."
}

// rows counts the rows of a list: key is a field that every row has.
func (f *form) rows(list, key string) int {
	n := 0
	for n < rowsMost && f.values.Has(at(list, n, key)) {
		n++
	}
	return n
}

// at names a field of a row.
func at(list string, i int, key string) string { return fmt.Sprintf("%s[%d].%s", list, i, key) }

// remove takes row i out of a list; the rows behind it move up.
func (f *form) remove(list string, i int) {
	moved := url.Values{}
	for name, value := range f.values {
		row, key, ok := rowOf(list, name)
		switch {
		case !ok || row < i:
			moved[name] = value
		case row > i:
			moved[at(list, row-1, key)] = value
		}
	}
	f.values = moved
}

// rowOf splits "list[3].key".
func rowOf(list, name string) (row int, key string, ok bool) {
	rest, ok := strings.CutPrefix(name, list+"[")
	if !ok {
		return 0, "", false
	}
	number, key, ok := strings.Cut(rest, "].")
	row, err := strconv.Atoi(number)
	return row, key, ok && err == nil
}

// errorAt joins what is wrong with a field; what is wrong with an element of a field that holds a list counts as the field's.
func (f *form) errorAt(name string) string {
	var texts []string
	for _, e := range f.errors {
		if e.Field == name || strings.HasPrefix(e.Field, name+"[") && !strings.Contains(strings.TrimPrefix(e.Field, name), "].") {
			texts = append(texts, e.Text)
		}
	}
	return strings.Join(texts, " ")
}

// field makes the view of a field from what was entered.
func (f *form) field(kind, name, label, help string) templates.Field {
	return templates.Field{Kind: kind, Name: name, Label: label, Value: f.values.Get(name), Help: help, Error: f.errorAt(name)}
}

// mono shows a field in the monospaced type: addresses, devices, paths.
func mono(x templates.Field, placeholder string) templates.Field {
	x.Mono, x.Placeholder = true, placeholder
	return x
}

func unit(x templates.Field, unit string) templates.Field {
	x.Unit = unit
	return x
}

func choices(x templates.Field, options ...templates.Option) templates.Field {
	x.Options = options
	for _, o := range options {
		if o.Value == x.Value {
			return x
		}
	}
	if x.Value != "" { // what is stored but not offered must not turn into the first choice by itself
		x.Options = append([]templates.Option{{Value: x.Value, Label: x.Value + " (not offered)"}}, options...)
	}
	return x
}

func row(fields ...templates.Field) templates.Row { return templates.Row{Fields: fields} }

// addrText, prefixText, secondsText and onText write values as a field shows them.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

func secondsText(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

func setFlag(values url.Values, name string, on bool) {
	if on {
		values.Set(name, "on")
	}
}
