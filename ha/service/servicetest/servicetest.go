// Package servicetest has real little services for tests: they run as processes of their own.
package servicetest

import (
	"fmt"
	"net"
	"os"
	"time"

	"evenkeel/ha/config"
)

const listenName = "SERVICETEST_LISTEN"

// Main makes a test binary able to be the service of [Listener]. TestMain calls it first.
func Main() {
	at := os.Getenv(listenName)
	if at == "" {
		return
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(4)
		}
		conn.Close()
	}
}

// Shell is a service that runs a script.
func Shell(name, script string) config.Service {
	return config.Service{
		Name: name, Kind: "command", Command: []string{"/bin/sh", "-c", script}, Order: config.BeforeAddress,
		StartTimeout: 5 * time.Second, StopTimeout: 5 * time.Second,
		Monitor: config.Monitor{Kind: "process", Interval: 50 * time.Millisecond, Timeout: time.Second, Failures: 2, Restarts: 2},
	}
}

// Sleeper does nothing until it is told to end.
func Sleeper(name string) config.Service { return Shell(name, "exec sleep 1000") }

// Stubborn ignores TERM, and gets KILL after 200 ms.
func Stubborn(name string) config.Service {
	s := Shell(name, `trap "" TERM; while :; do sleep 1; done`)
	s.StopTimeout = 200 * time.Millisecond
	return s
}

// Listener accepts connections at address, and is monitored by that. The test binary is the service: see [Main].
func Listener(name, address string) config.Service {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	s := Shell(name, "")
	s.Command, s.Env = []string{self}, []string{listenName + "=" + address}
	s.Monitor.Kind, s.Monitor.Target = "tcp", address
	return s
}
