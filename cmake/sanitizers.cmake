# BUFFERPOOL_SANITIZE builds all that is below this folder, library, tests and examples, with the sanitizers named. A
# directory property and no global flag, so a parent project is left alone. -fno-sanitize-recover makes the first
# finding of UBSan fatal, as those of the others are.
if(BUFFERPOOL_SANITIZE)
    list(JOIN BUFFERPOOL_SANITIZE "," sanitizers)
    add_compile_options(-fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${sanitizers})
endif()
