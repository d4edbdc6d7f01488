/* SPDX-License-Identifier: MIT
 *
 * matrix.h - the lifecycle matrix: which thread used the library, and how the thread, the process or the library ends
 * then. cells.c plays a cell; ../test_lifecycle.c has a test for each.
 */
#ifndef LIFECYCLE_MATRIX_H
#define LIFECYCLE_MATRIX_H

/* What the acting thread did with the library. */
#define LIFECYCLE_ROLES(role)                                                                                          \
    role(main_gets)           /* get, grow and put, in the main thread */                                              \
        role(thread_gets)     /* the same in another one */                                                            \
        role(thread_puts)     /* nothing but put: others got */                                                        \
        role(thread_destroys) /* nothing but destroy: of a pool that others made and used */

/* What comes then, and what the program says if all went as it should. */
#define LIFECYCLE_ENDS(end)                                                                                            \
    end(thread_exit, ".")                                                                                              \
        end(thread_exit_late, ".")       /* destructors of thread-specific data, of every round, use the pool */       \
        end(cancel_pending, ".")         /* cancelled before: the calls are no cancellation points */                  \
        end(cancel_deferred, ".")        /* between calls, at a cancellation point of the program's own */             \
        end(cancel_asynchronous, ".")    /* between calls, anywhere */                                                 \
        end(cancel_while_waiting, ".")   /* inside get_timed, or put and destroy that wait for the pool's free hook */ \
        end(fork_child_uses, ".")        /* all that there is, down to destroy */                                      \
        end(fork_child_exits, "hhd.")    /* by exit(), with buffers out, and atexit handlers that use the pool */      \
        end(fork_child_quits, ".")       /* by _exit() */                                                              \
        end(fork_child_thread_ends, ".") /* the thread that forked ends, in the child the last one */                  \
        end(fork_among_busy, ".")        /* while others are inside */                                                 \
        end(exec, "e") end(exec_among_busy, "e")                                                                       \
            end(exit, "hhd")          /* with buffers out, and handlers and a destructor that use the pool */          \
        end(exit_among_busy, "hhd")   /* while others are inside */                                                    \
        end(exit_when_cancelled, "x") /* by a thread with a cancellation pending */                                    \
        end(exit_beside_a_hook, "x")  /* that waits, on the library's thread, for what the caller of exit holds */     \
        end(return_from_main, "hhd")  /* ... by whom the roles let main */                                             \
        end(quick_exit, "q") end(_exit, "")

/* The same where the library came with dlopen. */
#define LIFECYCLE_UNLOADS(end)                                                                                         \
    end(thread_exit_then_unload, ".") end(unload_then_thread_exit, ".") /* the thread outlives the handle */           \
        end(unload_with_buffers_out, ".") /* and with the thread of BUFFERPOOL_BACKGROUND */                           \
        end(unload_when_cancelled, ".")   /* by a thread with a cancellation pending */                                \
        end(unload_beside_a_hook, ".")    /* that the library's thread is in for a while yet */                        \
        end(unload_at_exit, "x")          /* by a handler of exit, beside a hook that waits for the caller */

#endif
