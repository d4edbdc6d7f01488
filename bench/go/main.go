// SPDX-License-Identifier: MIT

// The workloads of ../workloads.c for the pools of Go, with goroutines for threads. The command line and the output are
// those of ../harness.c. BENCH_PEER in the environment selects the pool.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	step        = 256
	ring        = 256
	unsuited    = 77
	nothingDone = 75
	capLow      = 512
)

const (
	warmingUp = iota
	measuring
	stopped
)

type worker struct {
	number           int
	at               int
	random           uint64
	held             []*[]byte
	done             uint64
	seen             int32
	from, to         time.Time
	fromDone, toDone uint64
	_                [64]byte
}

type workload struct {
	step          func(*worker) uint64
	threads       int
	counting      int
	holds         int
	filled        bool
	before, after int
	oneMore       int
	maxLive       int64
	generation    uint64
	growsTo       int
}

var (
	buffers pool
	load    workload
	written = 64
	phase   int32
	handed  = make(chan *[]byte, ring)
	mainHas []*[]byte
)

func write(b []byte) {
	if written == 64 {
		for i := 0; i < 64; i += 8 {
			b[i], b[i+1], b[i+2], b[i+3], b[i+4], b[i+5], b[i+6], b[i+7] = 90, 90, 90, 90, 90, 90, 90, 90
		}
		return
	}
	b[0] = 90
	for n := 1; n < written; n *= 2 { // copy is Go's memset
		copy(b[n:written], b[:n])
	}
}

func take() *[]byte {
	b := buffers.Get()
	write(*b)
	return b
}

func (w *worker) place() int {
	w.random = w.random*6364136223846793005 + 1442695040888963407
	return int(((w.random >> 32) * uint64(len(w.held))) >> 32)
}

func pairs(*worker) uint64 {
	for i := 0; i < step; i++ {
		buffers.Put(take())
	}
	return step
}

func holdLifo(w *worker) uint64 {
	for i := range w.held {
		w.held[i] = take()
	}
	for i := len(w.held) - 1; i >= 0; i-- {
		buffers.Put(w.held[i])
	}
	return uint64(len(w.held))
}

func holdFifo(w *worker) uint64 {
	for i := range w.held {
		w.held[i] = take()
	}
	for _, b := range w.held {
		buffers.Put(b)
	}
	return uint64(len(w.held))
}

func replace(w *worker) uint64 {
	for i := 0; i < step; i++ {
		place := w.place()
		buffers.Put(w.held[place])
		w.held[place] = take()
	}
	return step
}

// handOver goes over a channel, which is Go's ring.
func handOver(w *worker) uint64 {
	if w.number != 0 {
		for i := 0; i < step; i++ {
			b := take()
			select {
			case handed <- b:
			default:
				buffers.Put(b)
				runtime.Gosched()
			}
		}
		return 0
	}
	done := uint64(0)
	for i := 0; i < step; i++ {
		select {
		case b := <-handed:
			buffers.Put(b)
			done++
		default:
			runtime.Gosched()
		}
	}
	return done
}

func lives(*worker) uint64 {
	var ended sync.WaitGroup
	ended.Add(1)
	go func() {
		buffers.Put(take())
		ended.Done()
	}()
	ended.Wait()
	return 1
}

func bulk(*worker) uint64 {
	var b [32]*[]byte
	for i := 0; i < step/len(b); i++ {
		for k := range b {
			b[k] = take()
		}
		for _, one := range b {
			buffers.Put(one)
		}
	}
	return step
}

func grow(*worker) uint64 {
	b := buffers.Get()
	appended := make([]byte, 1024)
	*b = (*b)[:0]
	for len(*b) < load.growsTo {
		*b = append(*b, appended...)
	}
	*b = (*b)[:cap(*b)]
	buffers.Put(b)
	return 1
}

func pairsGrown(*worker) uint64 {
	for i := 0; i < step; i++ {
		b := buffers.Get()
		if cap(*b) < load.growsTo {
			larger := make([]byte, load.growsTo)
			copy(larger, *b)
			*b = larger
		}
		write(*b)
		buffers.Put(b)
	}
	return step
}

// capPlus holds x buffers more than the cap, any of which is replaced.
func capPlus(x int) workload {
	return workload{step: replace, threads: 8, holds: (capLow + x) / 8, oneMore: x % 8, filled: true, maxLive: capLow}
}

// capBeyond takes and puts k at a time while all buffers of the cap are out.
func capBeyond(k int) workload {
	return workload{step: holdLifo, threads: 1, holds: k, before: capLow, maxLive: capLow}
}

var workloads = map[string]workload{
	"pairs-1":          {step: pairs, threads: 1},
	"pairs-2":          {step: pairs, threads: 2},
	"pairs-4":          {step: pairs, threads: 4},
	"pairs-8":          {step: pairs, threads: 8},
	"pairs-16":         {step: pairs, threads: 16},
	"pairs-64":         {step: pairs, threads: 64},
	"pairs-256":        {step: pairs, threads: 256},
	"hold-64":          {step: holdLifo, threads: 1, holds: 64},
	"hold-64-2t":       {step: holdLifo, threads: 2, holds: 64},
	"hold-64-8t":       {step: holdLifo, threads: 8, holds: 64},
	"hold-1024":        {step: holdLifo, threads: 1, holds: 1024},
	"hold-1024-2t":     {step: holdLifo, threads: 2, holds: 1024},
	"fifo-1024":        {step: holdFifo, threads: 1, holds: 1024},
	"fifo-1024-2t":     {step: holdFifo, threads: 2, holds: 1024},
	"handoff":          {step: handOver, threads: 2, counting: 1},
	"larson":           {step: replace, threads: 8, holds: 256, filled: true, generation: 100000},
	"threads":          {step: lives, threads: 1},
	"bulk-32":          {step: bulk, threads: 1},
	"grow-64k":         {step: grow, threads: 1, growsTo: 64 << 10},
	"grow-256k":        {step: grow, threads: 1, growsTo: 256 << 10},
	"grow-2m":          {step: grow, threads: 1, growsTo: 2 << 20},
	"pairs-grown":      {step: pairsGrown, threads: 1, growsTo: 256 << 10},
	"cap-at":           {step: replace, threads: 8, holds: capLow / 8, filled: true, maxLive: capLow},
	"cap-twice":        {step: replace, threads: 8, holds: capLow / 4, filled: true, maxLive: capLow},
	"cap-twice-pooled": {step: replace, threads: 8, holds: capLow / 8, filled: true, after: capLow, maxLive: capLow},
	"cap-twice-bypass": {step: pairs, threads: 8, before: 2 * capLow, maxLive: capLow},
	"cap-plus-1":      capPlus(1),
	"cap-plus-2":      capPlus(2),
	"cap-plus-4":      capPlus(4),
	"cap-plus-8":      capPlus(8),
	"cap-plus-16":     capPlus(16),
	"cap-plus-32":     capPlus(32),
	"cap-plus-64":     capPlus(64),
	"cap-plus-128":    capPlus(128),
	"cap-plus-256":    capPlus(256),
	"cap-beyond-28":   capBeyond(28),
	"cap-beyond-64":   capBeyond(64),
	"cap-beyond-1024": capBeyond(1024),
}

func (w *worker) note(now int32) {
	w.seen = now
	if now == measuring {
		w.from, w.fromDone = time.Now(), w.done
	} else {
		w.to, w.toDone = time.Now(), w.done
	}
}

func (w *worker) work(ended *sync.WaitGroup) {
	until := w.done + load.generation
	for load.generation == 0 || w.done < until {
		if now := atomic.LoadInt32(&phase); now != w.seen {
			if now == stopped && w.seen == warmingUp {
				w.note(measuring)
				if load.threads <= runtime.GOMAXPROCS(0) {
					w.done += load.step(w)
				}
			}
			w.note(now)
			if now == stopped {
				ended.Done()
				return
			}
		}
		w.done += load.step(w)
	}
	go w.work(ended)
}

func hold(n int) {
	for i := 0; i < n; i++ {
		mainHas = append(mainHas, take())
	}
}

func measure(duration time.Duration) {
	workers := make([]worker, load.threads)
	var filled, ready, ended sync.WaitGroup
	filled.Add(load.threads)
	ready.Add(1)
	ended.Add(load.threads)
	hold(load.before)
	for i := range workers {
		w := &workers[i]
		holds := load.holds
		if i < load.oneMore {
			holds++
		}
		w.number, w.random, w.held = i, uint64(i+1), make([]*[]byte, holds)
		go func() {
			if load.filled {
				for i := range w.held {
					w.held[i] = take()
				}
			}
			load.step(w)
			filled.Done()
			ready.Wait()
			w.work(&ended)
		}()
	}
	filled.Wait()
	hold(load.after)
	ready.Done()
	time.Sleep(duration / 3)
	from := time.Now()
	atomic.StoreInt32(&phase, measuring)
	time.Sleep(duration)
	took := time.Since(from)
	atomic.StoreInt32(&phase, stopped)
	ended.Wait()

	rate, done := 0.0, 0.0
	for i := range workers {
		w := &workers[i]
		own := float64(w.toDone - w.fromDone)
		done += own
		if ns := float64(w.to.Sub(w.from)); ns > 0 {
			rate += own / ns
		}
	}
	processors := runtime.GOMAXPROCS(0)
	counting := load.counting
	if counting == 0 {
		counting = load.threads
	}
	if counting > processors {
		counting = processors
	}
	if load.threads > processors {
		rate = done / float64(took)
	}
	if rate <= 0 {
		os.Exit(nothingDone)
	}
	fmt.Printf("- %.3f ns\n", float64(counting)/rate)
}

func main() {
	name, suffix := os.Args[1], ""
	if i := strings.IndexByte(name, '+'); i >= 0 {
		name, suffix = name[:i], name[i:]
	}
	var known bool
	if load, known = workloads[name]; !known {
		os.Exit(unsuited)
	}
	written = map[string]int{"": 64, "+4k": 4096, "+all": size}[suffix]
	if load.maxLive == 0 {
		load.maxLive = 1000000
	}
	buffers = newPool(os.Getenv("BENCH_PEER"), load.maxLive)
	if len(os.Args) > 3 { // -n: Go runs several threads from the start, and callgrind cannot tell which is ours
		os.Exit(unsuited)
	}
	ms := 20
	if load.threads > runtime.GOMAXPROCS(0) {
		ms = 100
	}
	if len(os.Args) > 2 {
		ms, _ = strconv.Atoi(os.Args[2])
	}
	measure(time.Duration(ms) * time.Millisecond)
}
