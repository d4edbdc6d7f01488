// SPDX-License-Identifier: MIT

package main

import (
	"sync"
	"sync/atomic"
)

const size = 32 * 1024

// pool is the interface that the workloads call.
type pool interface {
	Get() *[]byte
	Put(*[]byte)
}

// syncPool is sync.Pool as its users have it: of pointers to slices, which a put stores without an allocation.
type syncPool struct {
	pool sync.Pool
}

func newSyncPool() *syncPool {
	return &syncPool{sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}}
}

func (p *syncPool) Get() *[]byte  { return p.pool.Get().(*[]byte) }
func (p *syncPool) Put(b *[]byte) { p.pool.Put(b) }

// original is the package that libbufferpool follows, written anew: a count over sync.Pool. A Get beyond the cap does
// not count, but its Put does, and puts a buffer into the pool that did not come from it.
type original struct {
	syncPool
	live    int64
	maxLive int64
}

func (p *original) Live() int64        { return atomic.LoadInt64(&p.live) }
func (p *original) SetMaxLive(n int64) { atomic.StoreInt64(&p.maxLive, n) }
func (p *original) Get() *[]byte {
	if max := atomic.LoadInt64(&p.maxLive); max > 0 && p.Live() >= max {
		b := make([]byte, size)
		return &b
	}
	atomic.AddInt64(&p.live, 1)
	return p.syncPool.Get()
}

func (p *original) Put(b *[]byte) {
	atomic.AddInt64(&p.live, -1)
	p.syncPool.Put(b)
}

func newPool(name string, maxLive int64) pool {
	switch name {
	case "sync-pool":
		return newSyncPool()
	case "original", "original-capped":
		p := &original{syncPool: *newSyncPool()}
		if name == "original-capped" {
			p.SetMaxLive(maxLive)
		}
		return p
	}
	return nil
}
