//go:build !evenkeel_noflush

package disk

// NoFlush is true only in the build with the tag evenkeel_noflush, where flushes do nothing: it exists so that the proof of durability can
// fail.
const NoFlush = false
