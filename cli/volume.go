package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"evenkeel/ha"
	"evenkeel/ha/control"
)

// CreateVolume is what `volume create` is told.
type CreateVolume struct {
	Name       string
	Config     string // root's configuration of this node, which may be absent
	Backing    string
	Filesystem string // "" or ext4
	First      bool   // this copy holds the data
	Adopt      bool   // keep what is on the disk
	Force      bool   // metadata of an earlier volume may go
}

func (a *app) volumeCommand() *cobra.Command {
	v := &cobra.Command{Use: "volume", Short: "Replicated volumes", Args: cobra.NoArgs, RunE: showHelp}
	v.AddCommand(a.volumeList(), a.volumeCreate(), a.volumeInspect(), a.volumeContinue(), a.volumeResolve(), a.volumeDetach())
	for verb, short := range map[string]string{
		"pause": "Pause the resync", "resume": "Resume the resync",
		"connect": "Connect to the other copy", "disconnect": "Disconnect from the other copy",
	} {
		v.AddCommand(a.volumeVerb(verb, short))
	}
	return v
}

// showHelp is what a group of commands does by itself.
func showHelp(c *cobra.Command, _ []string) error { return c.Help() }

func (a *app) volumeList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{Use: "list", Short: "Show the volumes of this node", Args: arguments(0)}
	c.Flags().BoolVar(&asJSON, "json", false, "as in status --json")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.status(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(a.out, s.Volumes)
		}
		w := tabwriter.NewWriter(a.out, 2, 4, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tROLE\tDISK\tPEER DISK\tCONNECTION\tSIZE\tNOTE")
		for _, v := range s.Volumes {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f MB\t%s\n", v.Name, v.Role, v.Disk, v.PeerDisk, v.Connection, float64(v.Size)/1e6, volumeNote(v))
		}
		return w.Flush()
	}
	return c
}

func (a *app) volumeCreate() *cobra.Command {
	var o CreateVolume
	c := &cobra.Command{
		Use: "create NAME", Short: "Write the metadata of a new volume at the end of a backing disk", Args: arguments(1), PreRunE: a.refuseLab,
		Long: "Write the metadata of a new volume at the end of a backing disk. Do it on both nodes: with --first where the data are\n" +
			"(or where a filesystem is to be made), without on the other, which then receives everything.",
	}
	c.Flags().StringVar(&o.Backing, "backing", "", "block device or file (required)")
	c.Flags().StringVar(&o.Filesystem, "filesystem", "", "make this filesystem on it: ext4")
	c.Flags().BoolVar(&o.First, "first", false, "this copy holds the data")
	c.Flags().BoolVar(&o.Adopt, "adopt", false, "the disk bears a foreign signature: keep its content")
	c.Flags().BoolVar(&o.Force, "force", false, "the metadata of an earlier volume on it may go, and with them its data")
	_ = c.MarkFlagRequired("backing")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := a.noOtherNode(); err != nil {
			return err
		}
		if o.Name = args[0]; !ha.IsVolumeName(o.Name) {
			return usageError{fmt.Errorf("the name %q is not 1 to 16 of a-z, 0-9 and -", o.Name)}
		}
		o.Config = a.config
		text, err := a.CreateVolume(o)
		if err == nil {
			fmt.Fprintln(a.out, text)
		}
		return err
	}
	return c
}

func (a *app) volumeInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect BACKING", Short: "Show the metadata of a backing disk; the volume may run", Args: arguments(1), PreRunE: a.refuseLab,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.noOtherNode(); err != nil {
				return err
			}
			text, err := a.InspectVolume(args[0])
			if err == nil {
				fmt.Fprintln(a.out, text)
			}
			return err
		},
	}
}

// volumeOrder sends one verb.
func (a *app) volumeOrder(c *cobra.Command, name, verb string, o control.VolumeOrder) error {
	o.By = by()
	return a.order(c, func(ctx context.Context, e *control.Client) (control.Outcome, error) {
		return e.Volume(ctx, name, verb, o)
	})
}

func (a *app) volumeVerb(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: arguments(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.volumeOrder(c, args[0], verb, control.VolumeOrder{})
		},
	}
}

func (a *app) volumeContinue() *cobra.Command {
	var o control.VolumeOrder
	c := &cobra.Command{
		Use: "continue NAME --confirm PEER", Short: "Let this node go on alone while its writes are held", Args: arguments(1),
		Long: "Let this node acknowledge writes without the other copy. The other copy misses them; it must be kept off or hear this node first.",
	}
	c.Flags().StringVar(&o.Confirm, "confirm", "", "the other node's id (required)")
	_ = c.MarkFlagRequired("confirm")
	c.RunE = func(c *cobra.Command, args []string) error { return a.volumeOrder(c, args[0], "continue", o) }
	return c
}

func (a *app) volumeResolve() *cobra.Command {
	var o control.VolumeOrder
	c := &cobra.Command{
		Use: "resolve NAME --discard NODE --confirm NODE", Short: "End a split-brain: one node's history goes", Args: arguments(1),
		Long: "End a split-brain. What the discarded node wrote by itself is replaced by the other's data; name that node twice.",
	}
	c.Flags().StringVar(&o.Discard, "discard", "", "the node whose history goes (required)")
	c.Flags().StringVar(&o.Confirm, "confirm", "", "the same node, typed again (required)")
	_ = c.MarkFlagRequired("discard")
	_ = c.MarkFlagRequired("confirm")
	c.RunE = func(c *cobra.Command, args []string) error {
		if o.Discard != o.Confirm {
			return usageError{fmt.Errorf("--discard %s and --confirm %s differ: name the node whose history goes twice", o.Discard, o.Confirm)}
		}
		return a.volumeOrder(c, args[0], "resolve", o)
	}
	return c
}

func (a *app) volumeDetach() *cobra.Command {
	var o control.VolumeOrder
	c := &cobra.Command{Use: "detach NAME", Short: "Give the backing disk up", Args: arguments(1)}
	c.Flags().BoolVar(&o.Force, "force", false, "although it is in use: its users get errors")
	c.RunE = func(c *cobra.Command, args []string) error { return a.volumeOrder(c, args[0], "detach", o) }
	return c
}
