// Package lab is a whole pair on one machine: two nodes, a client and the cables between them, with faults on request. Users try Evenkeel in
// it and rehearse failures; the end-to-end tests run in it.
//
//	    client                node a                          node b
//	   lan  wan          lan  wan  sync  ttyS0           lan  wan  sync  ttyS0
//	    |    |            |    |    |      |              |    |    |      |
//	+---+----+------------+----+----+---+  |  +-------+   |    |    |      |
//	|   hub: a network namespace with   |  +--| relay |---|----|----|------+
//	|   the bridges lan, wan and sync   |     +-------+   |    |    |
//	+-----------------------------------+-----------------+----+----+
//
// `lab up` starts a daemon in a session and mount namespace of its own. It alone holds what the lab is made of: the
// namespaces (as open files, none has a name), the bridges, the relay of the serial line and the small file systems of
// the nodes' state; all that vanishes with it. A node is a process tree whose first process is PID 1 of a PID namespace;
// killing that one is a power cut. The other lab commands speak to the daemon over DIR/lab.sock; `lab down` needs no daemon: it ends
// what DIR/lab.json names, by pid and start time. That file also says that what stands in DIR is the lab's: `lab up` writes it first and refuses
// a DIR in which its names are taken without it. DIR is locked while a lab starts, lives or is ended.
//
// Nothing outside the namespaces, DIR and the loop devices that the nodes made is touched, so two labs with different
// folders live side by side.
package lab
