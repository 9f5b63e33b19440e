package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// Revision is one line of the settings' history.
type Revision struct {
	Number uint64
	At     time.Time
	By     string
	// Overridden: the other node's revision of this number is in force instead.
	Overridden bool
}

// User is one user of the console.
type User struct {
	Name    string
	Created time.Time
}

// Store is what the settings and users commands need of the database.
type Store interface {
	Latest(ctx context.Context) (ha.Settings, error)
	Unset(err error) bool // Latest failed because nothing was ever saved
	Load(ctx context.Context, revision uint64) (ha.Settings, error)
	Overridden(ctx context.Context, revision uint64) (ha.Settings, error)
	Save(ctx context.Context, s ha.Settings, base uint64, by string) (uint64, error)
	Revisions(ctx context.Context) ([]Revision, error)
	AddUser(ctx context.Context, name, password string) error
	SetPassword(ctx context.Context, name, password string) error
	Users(ctx context.Context) ([]User, error)
	Close() error
}

// settingsDeadline bounds the work on the database, and how long a revision that is saved already may keep people waiting for the engine.
const settingsDeadline = 10 * time.Second

// withStore runs f with the settings database of this node.
func (a *app) withStore(f func(context.Context, Store) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		_, self, err := a.RunDir(a.config)
		if err != nil {
			return &control.Error{Exit: control.ExitNotRunning, Code: "no_node",
				Text: fmt.Sprintf("cannot read this node's configuration: %v; run this inside a node (evenkeel lab exec a -- ...)", err)}
		}
		if a.node != "" && a.node != self {
			return usageError{fmt.Errorf("settings and users are read where they are kept: run this on node %s, not on %s", a.node, self)}
		}
		s, err := a.Store(a.config)
		if err != nil {
			return err
		}
		defer s.Close()
		ctx, cancel := context.WithTimeout(c.Context(), settingsDeadline)
		defer cancel()
		return f(ctx, s)
	}
}

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Settings as text: export, import, history, revert", Args: cobra.NoArgs, RunE: showHelp, PersistentPreRunE: a.refuseLab}
	export := &cobra.Command{Use: "export", Short: "Print the newest settings as JSON", Args: arguments(0)}
	export.RunE = a.withStore(func(ctx context.Context, s Store) error {
		latest, err := s.Latest(ctx)
		if err != nil {
			return err
		}
		writeEmptyLists(reflect.ValueOf(&latest).Elem())
		return printJSON(a.out, latest)
	})
	history := &cobra.Command{Use: "history", Short: "List the revisions", Args: arguments(0)}
	history.RunE = a.withStore(func(ctx context.Context, s Store) error {
		list, err := s.Revisions(ctx)
		w := tabwriter.NewWriter(a.out, 2, 4, 2, ' ', 0)
		for _, r := range list {
			mark := ""
			if r.Overridden {
				mark = "\toverridden by the other node's of this number"
			}
			fmt.Fprintf(w, "%d\t%s\t%s%s\n", r.Number, r.At.Local().Format(time.DateTime), r.By, mark)
		}
		w.Flush()
		return err
	})
	c.AddCommand(export, a.configImport(), history, a.configRevert())
	return c
}

func (a *app) configImport() *cobra.Command {
	var newNode bool
	c := &cobra.Command{Use: "import FILE", Short: "Save settings from JSON as a new revision; - reads standard input", Args: arguments(1)}
	c.Flags().BoolVar(&newNode, "new-node", false, "a node id may be one that neither node has: a machine gets a new one")
	c.RunE = func(c *cobra.Command, args []string) error {
		wish, err := readSettings(args[0])
		if err == nil {
			err = a.save(c, func(_ context.Context, latest ha.Settings, _ Store) (ha.Settings, error) {
				if newNode || latest.Revision == 0 {
					return wish, nil
				}
				return wish, a.samePair(wish, latest)
			})
		}
		return oneLine(err)
	}
	return c
}

// samePair refuses settings of another pair: nodes that have different ones in force do not hear each other.
func (a *app) samePair(wish, latest ha.Settings) error {
	_, self, err := a.RunDir(a.config)
	if err != nil {
		return err
	}
	wrong := wish.ForeignNodes(ha.NodeID(self), latest)
	if len(wrong) == 0 {
		return nil
	}
	wrong[0].Text = strings.TrimSuffix(wrong[0].Text, ".") + ", or add --new-node if a machine gets a new id."
	return wrong
}

func (a *app) configRevert() *cobra.Command {
	var overridden bool
	c := &cobra.Command{Use: "revert REVISION", Short: "Save an older revision again as the newest", Args: arguments(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		n, err := strconv.ParseUint(args[0], 10, 63)
		if err != nil {
			return usageError{fmt.Errorf("%q is not a revision number: see evenkeel config history", args[0])}
		}
		return a.save(c, func(ctx context.Context, _ ha.Settings, s Store) (ha.Settings, error) {
			return loadRevision(ctx, s, n, overridden)
		})
	}
	c.Flags().BoolVar(&overridden, "overridden", false, "the one of this number that lost against the other node's")
	return c
}

// loadRevision names the revision that is missing.
func loadRevision(ctx context.Context, s Store, n uint64, overridden bool) (ha.Settings, error) {
	list, err := s.Revisions(ctx)
	there := slices.ContainsFunc(list, func(r Revision) bool { return r.Number == n && r.Overridden == overridden })
	switch {
	case err == nil && !there && overridden:
		return ha.Settings{}, fmt.Errorf("no overridden revision %d is stored on this node: see evenkeel config history, here and on the other node", n)
	case err == nil && !there:
		return ha.Settings{}, fmt.Errorf("revision %d is not stored: see evenkeel config history", n)
	case overridden:
		return s.Overridden(ctx, n)
	}
	return s.Load(ctx, n)
}

// save stores what wish makes of the latest settings as a new revision and tells the engine; a running engine is not needed for it.
func (a *app) save(c *cobra.Command, wish func(ctx context.Context, latest ha.Settings, s Store) (ha.Settings, error)) error {
	var n uint64
	err := a.withStore(func(ctx context.Context, s Store) error {
		latest, err := s.Latest(ctx)
		if err != nil && !s.Unset(err) { // nothing stored yet: this is the first revision
			return err
		}
		w, err := wish(ctx, latest, s)
		if err != nil {
			return err
		}
		n, err = s.Save(ctx, w, latest.Revision, by())
		return err
	})(c, nil)
	if err != nil {
		return err
	}
	client, err := a.dialHere()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), settingsDeadline)
	defer cancel()
	if err := client.Settings(ctx, control.Revision{Revision: n}); err != nil {
		fmt.Fprintf(a.out, "Revision %d is saved; the engine did not take it yet: %v\n", n, err)
		return nil
	}
	fmt.Fprintf(a.out, "Revision %d is saved and in force.\n", n)
	return nil
}

func (a *app) userCommand() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "Users of the console", Args: cobra.NoArgs, RunE: showHelp, PersistentPreRunE: a.refuseLab}
	list := &cobra.Command{Use: "list", Short: "List the users", Args: arguments(0)}
	list.RunE = a.withStore(func(ctx context.Context, s Store) error {
		users, err := s.Users(ctx)
		for _, u := range users {
			fmt.Fprintf(a.out, "%s\tsince %s\n", u.Name, u.Created.Local().Format(time.DateOnly))
		}
		return err
	})
	c.AddCommand(list,
		a.passwordCommand("add NAME", "Add a user; the password is read from standard input", Store.AddUser),
		a.passwordCommand("passwd NAME", "Set a user's password, read from standard input", Store.SetPassword))
	return c
}

func (a *app) passwordCommand(use, short string, act func(Store, context.Context, string, string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: arguments(1)}
	c.RunE = func(c *cobra.Command, args []string) error {
		password, err := readPassword()
		if err != nil {
			return err
		}
		return a.withStore(func(ctx context.Context, s Store) error { return act(s, ctx, args[0], password) })(c, nil)
	}
	return c
}

// readPassword asks on a terminal without showing what is typed, else reads one line.
func readPassword() (string, error) {
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		fmt.Fprint(os.Stderr, "Password: ")
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(os.Stderr)
		return string(b), err
	}
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
