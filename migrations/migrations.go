// Package migrations holds the numbered SQL files that make the two databases what they are. A file is never edited after a
// release: a change is a new file with the next number. Package store runs them, each in one transaction.
package migrations

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

//go:embed settings/*.sql events/*.sql
var files embed.FS

// The databases: settings.db (settings, users, sessions, audit) and events.db (the log).
const (
	Settings = "settings"
	Events   = "events"
)

// Migration is one step of a database's schema.
type Migration struct {
	Number int    // from 1, without gaps
	Name   string // the file's name
	SQL    string
}

// Of lists the migrations of one database in order. An error means that this binary was built wrong: a name without number,
// or a gap.
func Of(database string) ([]Migration, error) {
	names, err := fs.Glob(files, database+"/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the migrations of %s: %w", database, err)
	}
	sort.Strings(names)
	var list []Migration
	for i, name := range names {
		digits, _, _ := strings.Cut(path.Base(name), "_")
		number, err := strconv.Atoi(digits)
		if err != nil || number != i+1 {
			return nil, fmt.Errorf("migration %s is not number %04d: names are NNNN_name.sql without a gap", name, i+1)
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		list = append(list, Migration{Number: number, Name: path.Base(name), SQL: string(text)})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no migration for the database %q", database)
	}
	return list, nil
}
