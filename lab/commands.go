package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// Commands is the `lab` command tree. An error is a *control.Error where its exit code is not 1; `lab exec` ends the program itself with the
// exit code of its command.
func Commands() *cobra.Command {
	c := &cobra.Command{
		Use:   "lab",
		Short: "A pair on this machine, to try and to break",
		Long: `The lab is a whole pair on this machine: nodes a and b and a client in namespaces of their own, with the networks lan, wan
and sync, a serial line, replicated disks, a virtual address and two small services. Cables can be cut, machines killed or
frozen, disks broken. It needs root and touches nothing outside its folder, its namespaces and its loop devices.`,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("there is no command %q in the lab: see `evenkeel lab --help`", args[0])
			}
			return c.Help()
		},
	}
	c.PersistentFlags().String("dir", "", "the lab's folder (default $"+dirVariable+" or "+defaultDir+")")
	c.AddCommand(upCommand(), downCommand(), statusCommand(), execCommand(), probeCommand())
	c.AddCommand(cutCommand(), joinCommand(), lossCommand(), noiseCommand(), baudCommand())
	c.AddCommand(startCommand(), stopCommand(), killCommand(), freezeCommand(), thawCommand(), diskCommand(), stateDiskCommand())
	c.AddCommand(daemonCommand(), nodeInitCommand(), guestbookCommand(), echoCommand())
	return c
}

// folder is where the lab of this call is.
func folder(c *cobra.Command) (layout, error) {
	dir, err := c.Flags().GetString("dir")
	if err != nil {
		return layout{}, err
	}
	if f := c.Flag("lab"); dir == "" && f != nil { // what the other commands call the lab's folder
		dir = f.Value.String()
	}
	if dir == "" {
		dir = os.Getenv(dirVariable)
	}
	if dir == "" {
		dir = defaultDir
	}
	dir, err = filepath.Abs(dir)
	return layout{dir}, err
}

// arguments is a check of how many arguments there are; a wrong number is a usage error that shows the right line.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usage("wrong number of arguments: use `%s`", c.UseLine())
		}
		return nil
	}
}

// send is the body of a command that is one order to the daemon.
func send(verb string, read func(c *cobra.Command, args []string) (Order, error)) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		l, err := folder(c)
		if err != nil {
			return err
		}
		o, err := read(c, args)
		if err != nil {
			return err
		}
		text, err := order(c.Context(), l, verb, o)
		if err == nil {
			fmt.Fprintln(c.OutOrStdout(), text)
		}
		return err
	}
}

// readNode, readWhat read the one argument of many orders.
func readNode(_ *cobra.Command, args []string) (Order, error) { return Order{Node: args[0]}, nil }
func readWhat(_ *cobra.Command, args []string) (Order, error) { return Order{What: args[0]}, nil }

func cutCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cut WHAT", Short: "Cut a cable: serial, lan, wan, sync, a:lan, a:all, all", Args: arguments(1, 1),
		Long: `Cut a cable. WHAT is serial, lan, wan or sync (that network, both nodes), a:lan (that node's cable), a:all or all.
The carrier is lost; with --silent frames vanish and the carrier stays; --to NODE drops only what goes to that node.
A cut stays over kill and start, until it is joined.`,
		Example: "  evenkeel lab cut a:all\n  evenkeel lab cut sync --silent\n  evenkeel lab cut serial --to a",
	}
	silent := c.Flags().Bool("silent", false, "drop frames, keep the carrier")
	to := c.Flags().String("to", "", "drop only what goes to this node")
	c.RunE = send("cut", func(_ *cobra.Command, args []string) (Order, error) {
		return Order{What: args[0], Silent: *silent, To: *to}, nil
	})
	return c
}

func joinCommand() *cobra.Command {
	return &cobra.Command{Use: "join WHAT", Short: "Mend a cable that was cut", Args: arguments(1, 1), RunE: send("join", readWhat)}
}

func lossCommand() *cobra.Command {
	return &cobra.Command{
		Use: "loss WHAT PERCENT", Short: "Make a cable or a network lose frames", Args: arguments(2, 2),
		Long:    "Make a node's cable (in each direction) or a whole network (each frame once) lose a percentage of its frames; 0% ends it.",
		Example: "  evenkeel lab loss a:lan 30%", RunE: send("loss", readPercent),
	}
}

func noiseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "noise serial PERCENT", Short: "Flip bits on the serial line", Args: arguments(2, 2),
		Example: "  evenkeel lab noise serial 2%", RunE: send("noise", readPercent),
	}
}

// readPercent reads WHAT PERCENT.
func readPercent(_ *cobra.Command, args []string) (Order, error) {
	p, err := strconv.ParseFloat(strings.TrimSuffix(args[1], "%"), 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return Order{}, usage("%q is no percentage: enter a number from 0%% to 100%%", args[1])
	}
	return Order{What: args[0], Percent: p}, nil
}

func baudCommand() *cobra.Command {
	return &cobra.Command{
		Use: "baud serial RATE", Short: "Set the rate of the serial line, in bits a second", Args: arguments(2, 2),
		Example: "  evenkeel lab baud serial 9600",
		RunE: send("baud", func(_ *cobra.Command, args []string) (Order, error) {
			rate, err := strconv.Atoi(args[1])
			if err != nil {
				return Order{}, usage("%q is no rate: enter bits a second, for example 9600", args[1])
			}
			return Order{What: args[0], Baud: rate}, nil
		}),
	}
}

func startCommand() *cobra.Command {
	return &cobra.Command{Use: "start NODE", Short: "Switch a node on", Args: arguments(1, 1), RunE: send("start", readNode)}
}

func stopCommand() *cobra.Command {
	return &cobra.Command{Use: "stop NODE", Short: "Shut a node down in order", Args: arguments(1, 1), RunE: send("stop", readNode)}
}

func killCommand() *cobra.Command {
	return &cobra.Command{
		Use: "kill NODE [heart|engine|web|volume]", Short: "Cut a node's power, or kill one of its processes", Args: arguments(1, 2),
		Example: "  evenkeel lab kill a\n  evenkeel lab kill a heart\n  evenkeel lab kill b volume/data",
		RunE: send("kill", func(_ *cobra.Command, args []string) (Order, error) {
			return Order{Node: args[0], Process: strings.Join(args[1:], "")}, nil
		}),
	}
}

func freezeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "freeze NODE", Short: "Pause a node: nothing runs, nothing answers, carriers stay", Args: arguments(1, 1),
	}
	userland := c.Flags().Bool("userland", false, "stop the processes only: the kernel still answers")
	c.RunE = send("freeze", func(_ *cobra.Command, args []string) (Order, error) {
		return Order{Node: args[0], Userland: *userland}, nil
	})
	return c
}

func thawCommand() *cobra.Command {
	return &cobra.Command{Use: "thaw NODE", Short: "Let a frozen node go on", Args: arguments(1, 1), RunE: send("thaw", readNode)}
}

func diskCommand() *cobra.Command {
	return &cobra.Command{
		Use: "disk NODE ok|error|slow|full|hang", Short: "Make a node's backing disks misbehave", Args: arguments(2, 2), RunE: send("disk", readMode),
	}
}

func stateDiskCommand() *cobra.Command {
	return &cobra.Command{
		Use: "state-disk NODE full|ok", Short: "Fill the folder of a node's own state", Args: arguments(2, 2), RunE: send("state-disk", readMode),
	}
}

// readMode reads NODE MODE.
func readMode(_ *cobra.Command, args []string) (Order, error) {
	return Order{Node: args[0], Mode: args[1]}, nil
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "End the lab; nothing is kept", Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := folder(c)
			if err != nil {
				return err
			}
			was, err := down(l)
			if err != nil {
				return err
			}
			if !was {
				fmt.Fprintf(c.OutOrStdout(), "no lab runs in %s\n", l.dir)
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "the lab in %s is down; nothing of it is left\n", l.dir)
			return nil
		},
	}
}

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec a|b|client -- COMMAND...", Short: "Run a command inside a node or the client; its exit code", Args: arguments(2, 1<<16),
		Example: "  evenkeel lab exec a -- evenkeel status\n  evenkeel lab exec client -- curl http://10.88.1.100:8080/entries",
		RunE: func(c *cobra.Command, args []string) error {
			l, err := folder(c)
			if err != nil {
				return err
			}
			code, err := execute(c.Context(), l, args[0], args[1:])
			if err == nil && code != 0 {
				os.Exit(code) // the command has said itself what was wrong
			}
			return err
		},
	}
}

func daemonCommand() *cobra.Command {
	c := &cobra.Command{Use: "daemon", Hidden: true, Short: "The lab itself; `lab up` starts it", Args: arguments(0, 0)}
	options := c.Flags().String("options", "{}", "Options as JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		l, err := folder(c)
		if err != nil {
			return err
		}
		var o Options
		if err := json.Unmarshal([]byte(*options), &o); err != nil {
			return usage("--options cannot be read: %w", err)
		}
		return runDaemon(l, o)
	}
	return c
}

func nodeInitCommand() *cobra.Command {
	c := &cobra.Command{Use: "node-init", Hidden: true, Short: "First process of a node; the daemon starts it", Args: arguments(0, 0)}
	m := machine{}
	c.Flags().StringVar(&m.node, "node", "", "a or b")
	c.Flags().StringVar(&m.serial, "serial", "", "pseudo-terminal that becomes /dev/ttyS0")
	c.Flags().BoolVar(&m.bare, "bare", false, "run nothing")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if m.layout, err = folder(c); err != nil {
			return err
		}
		if os.Getpid() != 1 {
			return usage("node-init is the first process of a node: `evenkeel lab up` starts it")
		}
		return boot(m)
	}
	return c
}
