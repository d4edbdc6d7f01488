# 32-bit x86. An x86-64 kernel runs it as it is, with the dynamic linker as the "emulator" that knows where the C library is.
set(triple i686-linux-gnu)
include(${CMAKE_CURRENT_LIST_DIR}/linux.cmake)
set(CMAKE_SYSTEM_PROCESSOR i686)
set(CMAKE_CROSSCOMPILING_EMULATOR /usr/${triple}/lib/ld-linux.so.2 --library-path /usr/${triple}/lib)
# gcc notes that version 11 changed the alignment of 64-bit atomics in structs: no struct of the public header has any.
set(CMAKE_C_FLAGS_INIT -Wno-psabi)
