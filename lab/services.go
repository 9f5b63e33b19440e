package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"evenkeel/lab/echo"
	"evenkeel/lab/guestbook"
	"evenkeel/lab/probe"
)

// Ports of the lab's services.
const (
	guestbookPort = 8080
	echoPort      = 7007
)

// untilStopped is a context that ends when the process is told to stop.
func untilStopped(c *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(c.Context(), unix.SIGTERM, unix.SIGINT)
}

func guestbookCommand() *cobra.Command {
	c := &cobra.Command{Use: "guestbook", Hidden: true, Short: "The lab's service on the volume", Args: arguments(0, 0)}
	node := c.Flags().String("node", "", "node that answers")
	data := c.Flags().String("data", "/srv/data", "folder of the database")
	listen := c.Flags().String("listen", fmt.Sprintf("0.0.0.0:%d", guestbookPort), "address:port")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := untilStopped(c)
		defer stop()
		return guestbook.Run(ctx, *node, *data, *listen)
	}
	return c
}

func echoCommand() *cobra.Command {
	c := &cobra.Command{Use: "echo", Hidden: true, Short: "The lab's service that tells who answers", Args: arguments(0, 0)}
	node := c.Flags().String("node", "", "node that answers")
	port := c.Flags().Int("port", echoPort, "UDP and TCP port")
	c.RunE = func(c *cobra.Command, _ []string) error {
		ctx, stop := untilStopped(c)
		defer stop()
		return echo.Run(ctx, *node, *port)
	}
	return c
}

// insideVariable says that this process is in the client's network already.
const insideVariable = "EVENKEEL_LAB_INSIDE"

func probeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "probe [ADDRESS:PORT]", Short: "Ask an address from the client and tell how long nobody answered", Args: arguments(0, 1),
		Long: `Ask the echo service at ADDRESS:PORT (or a page, with --http URL) from the client, once per interval. An answer after 200 ms counts as
lost. Prints how many were sent and lost, the longest silence (both ends included) and which node answered when. Ends with 1 if nobody
answered.`,
		Example: "  evenkeel lab probe --for 10s 10.88.1.100:7007\n  evenkeel lab probe --http http://10.88.1.100:8080/ --json",
	}
	o := probe.Options{}
	c.Flags().DurationVar(&o.For, "for", 10*time.Second, "how long")
	c.Flags().DurationVar(&o.Every, "every", 5*time.Millisecond, "interval")
	c.Flags().StringVar(&o.URL, "http", "", "GET this URL instead")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		if (len(args) == 1) == (o.URL != "") {
			return usage("say what to ask: ADDRESS:PORT or --http URL, and not both")
		}
		if len(args) == 1 {
			o.Address = args[0]
		}
		if err := o.Check(); err != nil {
			return usage("%w", err)
		}
		if os.Getenv(insideVariable) == "" {
			return moveToClient(c)
		}
		ctx, stop := untilStopped(c)
		defer stop()
		r, err := probe.Run(ctx, o)
		if err != nil {
			return err
		}
		return printProbe(c.OutOrStdout(), r, *asJSON)
	}
	return c
}

// moveToClient executes this same command again inside the client's network.
func moveToClient(c *cobra.Command) error {
	l, err := folder(c)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the thread that executes is the process from then on
	if err := enterClient(l); err != nil {
		return err
	}
	return unix.Exec(self, os.Args, append(os.Environ(), insideVariable+"=1"))
}

// printProbe prints the result; a probe that nobody answered is a failure, in either form.
func printProbe(out io.Writer, r probe.Result, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(out).Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "sent %d, lost %d, longest silence %d ms\n", r.Sent, r.Lost, r.LongestSilence)
		for _, s := range r.AnsweredBy {
			fmt.Fprintf(out, "  node %s answered from %d ms to %d ms\n", s.Node, s.From, s.To)
		}
	}
	if len(r.AnsweredBy) == 0 {
		return errors.New("nobody answered: see `evenkeel lab status`")
	}
	return nil
}
