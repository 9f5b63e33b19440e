// Evenkeel turns two Linux machines into one highly available pair. This file is wiring only: the command tree and the exit code;
// processes.go starts one process of a node, volumes.go joins the two houses.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"evenkeel/cli"
	"evenkeel/ha/config"
	"evenkeel/lab"
)

// version is set by the build (-ldflags "-X main.version=...").
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	code := cli.Main(ctx, cli.Deps{
		Version: version, Run: runNode, Serve: serve, RunDir: runDir,
		CreateVolume: createVolume, InspectVolume: inspectVolume, Store: openStore, Lab: lab.Commands(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// runDir reads where this node's sockets are.
func runDir(path string) (dir, node string, err error) {
	if _, err := os.Stat(path); err != nil {
		return "", "", err
	}
	c, err := config.Load(path)
	return c.RunDir, c.Node, err
}
