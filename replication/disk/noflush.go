//go:build evenkeel_noflush

package disk

// noFlush: flushes do nothing in this build; see flush.go.
const noFlush = true
