package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"syscall"
	"time"

	"evenkeel/ha/config"
)

// ask asks a service's health once; nil = good. It takes at most the monitor's time-out.
func ask(ctx context.Context, mon config.Monitor) error {
	ctx, cancel := context.WithTimeout(ctx, mon.Timeout)
	defer cancel()
	switch mon.Kind {
	case "tcp":
		return askTCP(ctx, mon.Target)
	case "http":
		return askHTTP(ctx, mon.Target)
	case "command":
		return askCommand(ctx, mon.Command)
	}
	return nil // kind "process": that it runs is the whole question, and its end is noticed by itself
}

// askTCP is good when a connection is accepted.
func askTCP(ctx context.Context, target string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	return conn.Close()
}

// askHTTP is good when the status is below 400. A connection of its own each time: a kept one would not notice that
// the listener is gone. A certificate is not checked: the question is whether it answers.
func askHTTP(ctx context.Context, target string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode >= 400 {
		return fmt.Errorf("%s answers %s", target, res.Status)
	}
	return nil
}

// askCommand is good when the command ends with 0. It runs in a group of its own, which is killed at the time-out.
func askCommand(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 100 * time.Millisecond
	err := cmd.Run()
	if ctx.Err() != nil {
		return errors.New("the monitor's command did not end in time")
	}
	return err
}
