package handlers

import (
	"sync"

	"evenkeel/templates"
)

// noticesKept bounds the notices that wait to be shown.
const noticesKept = 256

// notices keeps, per session, what the last action has to say until the next page shows it.
type notices struct {
	mu      sync.Mutex
	waiting map[string]templates.Notice
}

func (n *notices) put(session string, notice templates.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil || len(n.waiting) >= noticesKept {
		n.waiting = map[string]templates.Notice{}
	}
	n.waiting[session] = notice
}

func (n *notices) take(session string) *templates.Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	notice, ok := n.waiting[session]
	if !ok || session == "" {
		return nil
	}
	delete(n.waiting, session)
	return &notice
}
