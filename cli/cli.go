// Package cli holds the commands for people. Each is a client of the engine's API (ha/control); what needs another wing (creating a
// volume, users, settings, the processes themselves) comes in through [Deps], which main fills.
//
// Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a safety rule, 4 not running. Errors are one line on stderr: what, why, what to do.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"evenkeel/ha/control"
)

// Deps is what main joins to the commands.
type Deps struct {
	Version string
	// Run is `evenkeel run`, Serve is one process of it.
	Run   func(ctx context.Context, config string) error
	Serve func(ctx context.Context, config, process string, args []string) error
	// RunDir reads the run folder from evenkeel.toml; it fails where no node is configured.
	RunDir func(config string) (dir, node string, err error)
	// CreateVolume and InspectVolume work on a backing disk that no process has open.
	CreateVolume  func(CreateVolume) (string, error)
	InspectVolume func(backing string) (string, error)
	// Store opens the settings database of this node; nil where none is.
	Store func(config string) (Store, error)
	Lab   *cobra.Command
}

// app is one invocation.
type app struct {
	Deps
	config string
	node   string
	lab    string
	out    io.Writer
	began  bool // a command's own code was reached: from here on errors are not usage
}

// usageError is an error of the command line itself.
type usageError struct{ error }

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, d Deps, args []string) int {
	a := &app{Deps: d, out: os.Stdout}
	root := a.root()
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return control.ExitDone
	}
	var api *control.Error
	var code *exitCode
	var usage usageError
	switch {
	case errors.As(err, &code):
		return code.code
	case errors.As(err, &api):
		fmt.Fprintln(os.Stderr, "evenkeel:", api.Text)
		return api.Exit
	case errors.As(err, &usage) || !a.began:
		fmt.Fprintf(os.Stderr, "evenkeel: %v (see %s --help)\n", err, command.CommandPath())
		return control.ExitUsage
	}
	fmt.Fprintln(os.Stderr, "evenkeel:", err)
	return control.ExitFailed
}

// exitCode ends the program with a code and no further words.
type exitCode struct{ code int }

// Error names the code.
func (e *exitCode) Error() string { return fmt.Sprintf("exit %d", e.code) }

// exitWith is an error that ends the program with this code silently: for commands that have already said everything.
func exitWith(code int) error { return &exitCode{code} }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "evenkeel", Short: "One highly available pair out of two Linux machines",
		Long: "Evenkeel turns two Linux machines into one highly available pair.\n\n" +
			"Try it on one machine: evenkeel lab up. Then: evenkeel status --node a.",
		Version: a.Version, SilenceErrors: true, SilenceUsage: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		text, _, _ := strings.Cut(err.Error(), ": strconv.") // how Go reads numbers helps nobody
		return usageError{errors.New(text)}
	})
	f := root.PersistentFlags()
	f.StringVar(&a.config, "config", defaultConfig, "root's configuration of this node")
	f.StringVar(&a.node, "node", "", "node to ask: this one, the other through the peer channel, or a node of the lab")
	f.StringVar(&a.lab, "lab", "", "folder of the lab whose nodes are meant (default: EVENKEEL_LAB, else "+defaultLab+")")
	root.AddCommand(a.statusCommand(), a.explainCommand(), a.checkCommand(), a.eventsCommand())
	root.AddCommand(a.takeoverCommand(), a.releaseCommand(), a.standbyCommand(), a.armCommand(true), a.armCommand(false))
	root.AddCommand(a.volumeCommand(), a.configCommand(), a.userCommand(), a.runCommand(), a.serveCommand())
	if a.Lab != nil {
		root.AddCommand(a.Lab)
	}
	root.SetHelpCommand(helpCommand(root))
	strictCompletion(root)
	a.noteBeginning(root)
	return root
}

// helpCommand is cobra's, but a command that does not exist is a usage error of one line.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("there is no command %q to help with", strings.Join(args, " "))}
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}

// strictCompletion makes the completion command, which cobra adds, refuse a shell that it does not know.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.NoArgs, showHelp
		}
	}
}

// arguments is a check of how many arguments a command has; a wrong number is a usage error that shows the right line.
func arguments(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		line := strings.TrimSuffix(c.UseLine(), " [flags]")
		if len(args) > n {
			return usageError{fmt.Errorf("%q is one argument too many: use `%s`", args[n], line)}
		}
		return usageError{fmt.Errorf("an argument is missing: use `%s`", line)}
	}
}

// noteBeginning makes every command note that its own code was reached: what fails before that (flags, arguments, required flags) is usage.
func (a *app) noteBeginning(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			a.began = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteBeginning(sub)
	}
}

const (
	defaultConfig = "/etc/evenkeel/evenkeel.toml"
	defaultLab    = "/var/lib/evenkeel-lab"
)

// runCommand is the supervisor of one node.
func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run all processes of this node in the foreground", Args: arguments(0),
		RunE: func(c *cobra.Command, _ []string) error { return a.Run(c.Context(), a.config) },
	}
}

// serveCommand is one process; packages' units and the supervisor call it, people do not.
func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve heart|engine|web|volume [NAME]", Short: "Run one process of this node", Hidden: true,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error { return a.Serve(c.Context(), a.config, args[0], args[1:]) },
	}
}
