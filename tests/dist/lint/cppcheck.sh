#!/bin/sh
# SPDX-License-Identifier: MIT
#
# cppcheck.sh: cppcheck over everything that a build compiles. Checks that are left out everywhere stand here, with
# their reason. A single finding that is wrong is suppressed beside it, with its reason.
#
# Environment: SOURCE (the tree), COMMANDS (the folder with compile_commands.json), CPPCHECK
set -eu

set -- \
    --suppress=varFuncNullUB `# NULL ends lists of arguments; in the C libraries of POSIX it is a pointer` \
    --suppress=shadowVariable --suppress=shadowFunction `# -Wshadow finds those that are; it knows where a scope ends` \
    --suppress=unusedStructMember `# does not see uses by designated initializers and macros` \
    --suppress=readdirCalled `# is safe as long as each thread has its own directory stream` \
    '--suppress=preprocessorErrorDirective:*/tests/support/steps.h' `# cannot expand a macro with a comma in __typeof__` \
    '--suppress=knownConditionTrueFalse:*/tests/*' `# what it takes for known, a call in between changes` \
    '--suppress=passedByValue:*/tests/dist/consumer/header/wrapper.cpp' `# that it is moved is what is tested` \
    '--suppress=accessMoved:*/tests/dist/consumer/header/wrapper.cpp' `# that nothing is left is what is tested` \
    --suppress=usleepCalled `# gone from POSIX, but not from its systems` \
    '--suppress=nullPointerArithmeticRedundantCheck:*/bench/peers/malloc.h' `# the loop ends where it is NULL` \
    '--suppress=constParameter:*/tests/*' `# what is passed as a callback has the type that its caller wants`

"$CPPCHECK" --version
"$CPPCHECK" --project="$COMMANDS/compile_commands.json" --enable=warning,style,performance,portability --inline-suppr \
    --library=posix --library=gnu --std=c11 --quiet --error-exitcode=1 "$@"
